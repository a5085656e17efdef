"""The model repository: loading, unloading and telling what there is, while requests are served.

One operation a model at a time, and one load at a time altogether: a load measures the engine, and
two at once would measure each other. A new version is served before the old one is taken away, so
that no request falls between them.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import Any

from haldane_runtime.core.dataplane import DataPlane
from haldane_runtime.core.errors import Code, LoadError, Reason, RequestError, invalid
from haldane_runtime.core.instance import ModelInstance
from haldane_runtime.loading import LoadedModel
from haldane_runtime.repository.background import in_thread
from haldane_runtime.repository.failures import titled, together
from haldane_runtime.repository.offers import Offer, Offers
from haldane_runtime.settings import Settings

log = logging.getLogger(__name__)

# Sent by clients with every unload; there are no dependent models here, so that either value means the same.
_IGNORED_PARAMETERS = frozenset({"unload_dependents"})

_CODE = {Reason.MODEL_NOT_FOUND: Code.NOT_FOUND, Reason.STORAGE_UNREACHABLE: Code.UNAVAILABLE}


class ModelState(StrEnum):
    """As the repository extension of the Open Inference Protocol names them."""

    READY = "READY"
    LOADING = "LOADING"
    UNLOADING = "UNLOADING"
    UNAVAILABLE = "UNAVAILABLE"


@dataclass(frozen=True, slots=True)
class IndexEntry:
    """A version of a model, whether served or not; `reason` says why not, "" when there is nothing to say."""

    name: str
    version: str
    state: ModelState
    reason: str


class ModelRepository:
    """Belongs to the event loop's thread; the loads themselves run in a thread beside it.

    `explicit` allows `load` and `unload`; `request_timeout` is the longest that a request may take,
    in seconds, and so the longest that an unload waits.
    """

    def __init__(
        self,
        plane: DataPlane,
        offers: Offers,
        load: Callable[[Settings], LoadedModel],
        explicit: bool,
        request_timeout: float,
    ) -> None:
        self._plane = plane
        self._offers = offers
        self._load_model = load
        self._explicit = explicit
        self._request_timeout = request_timeout
        self._stamps: dict[tuple[str, str], object] = {}
        self._failed: dict[tuple[str, str], LoadError] = {}
        self._busy: dict[str, ModelState] = {}
        self._locks: dict[str, asyncio.Lock] = {}
        self._one_load = asyncio.Lock()
        self._operations: set[asyncio.Task[None]] = set()

    @property
    def failures(self) -> Mapping[tuple[str, str], LoadError]:
        """Why the last load of a name and version failed, for those where it did."""
        return self._failed

    async def load_all(self) -> None:
        """Load everything there is; a failure is kept for `index` and `failures` and stops no other.

        Raises:
            LoadError: when the repository itself cannot be read.
        """
        for name, offers in (await in_thread(self._offers, "index")).items():
            await self._exclusively(name, ModelState.LOADING, partial(self._load_offers, name, offers))

    async def load(self, name: str, parameters: Mapping[str, Any] | None = None) -> None:
        """Load what the repository now holds of `name`: new and changed versions; those that are gone are unloaded.

        Raises:
            RequestError: FORBIDDEN when model control is off, NOT_FOUND for a name that the
                repository does not hold, INVALID for parameters and for a version that cannot be
                loaded, UNAVAILABLE when its storage does not answer. What was served stays so.
        """
        self._require_control("load", name, parameters)
        await self._finish(self._exclusively(name, ModelState.LOADING, partial(self._load_anew, name)))

    async def unload(self, name: str, parameters: Mapping[str, Any] | None = None) -> None:
        """Stop serving every version of `name`, once what waits for them has been answered.

        Raises:
            RequestError: FORBIDDEN when model control is off, NOT_FOUND for a name that is neither
                served nor in the repository.
        """
        self._require_control("unload", name, parameters)
        await self._finish(self._exclusively(name, ModelState.UNLOADING, partial(self._unload_served, name)))

    async def index(self, ready_only: bool = False) -> list[IndexEntry]:
        """Every version that is served or could be, by name and version.

        Raises:
            RequestError: when the repository's folder cannot be read.
        """
        offers = await self._offered()
        served = {(one.model.name, one.model.version) for one in self._plane.instances}
        known = served | self._failed.keys()
        # A version that only a load tells is not listed once that load has told it.
        offered = {(one.name, one.version) for versions in offers.values() for one in versions}
        told = {name for name, _ in known}
        keys = known | {(name, version) for name, version in offered if version or name not in told}
        entries = [self._entry(*key, key in served) for key in sorted(keys, key=_by_version)]
        return [entry for entry in entries if entry.state is ModelState.READY or not ready_only]

    def _entry(self, name: str, version: str, served: bool) -> IndexEntry:
        busy = self._busy.get(name)
        if served:
            state = ModelState.UNLOADING if busy is ModelState.UNLOADING else ModelState.READY
            return IndexEntry(name, version, state, "")
        if busy is ModelState.LOADING:
            return IndexEntry(name, version, busy, "")
        failure = self._failed.get((name, version))
        return IndexEntry(name, version, ModelState.UNAVAILABLE, failure.message if failure else "unloaded")

    def _require_control(self, what: str, name: str, parameters: Mapping[str, Any] | None) -> None:
        if not self._explicit:
            raise RequestError(
                Code.FORBIDDEN,
                f"model '{name}' cannot be {what}ed by request; start the server with HALDANE_MODEL_CONTROL=explicit",
            )
        if unknown := sorted(set(parameters or ()) - _IGNORED_PARAMETERS):
            raise invalid(
                f"the parameter '{unknown[0]}' is not served: a model is what lies in the repository; put its files there"
            )

    async def _finish(self, operation: Coroutine[Any, Any, None]) -> None:
        """An operation goes on to its end when the client that asked for it leaves."""
        task = asyncio.create_task(operation)
        self._keep(task)
        await asyncio.shield(task)

    async def _exclusively(self, name: str, state: ModelState, operation: Callable[[], Awaitable[object]]) -> None:
        lock = self._locks.setdefault(name, asyncio.Lock())
        async with lock:
            self._busy[name] = state
            try:
                await operation()
            finally:
                del self._busy[name]

    async def _load_anew(self, name: str) -> None:
        offers = (await self._offered()).get(name, ())
        if not offers and self._served(name):
            raise RequestError(
                Code.NOT_FOUND,
                f"the repository holds no model '{name}' any more; what is loaded of it is served until it is unloaded",
            )
        if not offers:
            raise RequestError(
                Code.NOT_FOUND, f"the repository holds no model '{name}'; POST /v2/repository/index lists what it holds"
            )
        failures = await self._load_offers(name, offers)
        if failures:
            raise _refusal(together(failures))
        versions = {offer.version for offer in offers}
        # With a version that only the load tells, what it replaced is gone already.
        for version in () if "" in versions else self._served(name).keys() - versions:
            self._stamps.pop((name, version), None)
            gone = self._plane.remove(name, version)
            if gone is not None:
                self._retire(gone)

    async def _load_offers(self, name: str, offers: Sequence[Offer]) -> dict[tuple[str, str], LoadError]:
        failures: dict[tuple[str, str], LoadError] = {}
        versions = {offer.version for offer in offers}
        self._forget([key for key in self._failed if key[0] == name and key[1] not in versions])
        for offer in offers:
            if offer.stamp is not None and self._stamps.get((name, offer.version)) == offer.stamp:
                continue
            async with self._one_load:
                try:
                    loaded = await in_thread(partial(self._load_model, offer.settings), f"load {name}")
                except LoadError as error:
                    log.warning("%s could not be loaded: %s", titled(name, offer.version), error.message)
                    self._failed[name, offer.version] = failures[name, offer.version] = error
                    continue
            self._failed.pop((name, offer.version), None)
            self._serve(offer, loaded)
        self._tell_availability(name)
        return failures

    def _serve(self, offer: Offer, loaded: LoadedModel) -> None:
        name, version = loaded.model.name, loaded.model.version
        # Without a version of its own, an offer is one model whose content may have changed.
        before = self._served(name) if not offer.version else {version: self._served(name).get(version)}
        self._plane.add(loaded.model, loaded.engine, loaded.profile)
        self._stamps[name, version] = offer.stamp
        log.info(
            "serving '%s' version %s on %s, %s: %s",
            name,
            version,
            loaded.model.device,
            f"in batches of up to {loaded.profile.max_rows} rows" if loaded.profile.batchable else "without batching",
            loaded.profile.reason,
        )
        for old_version, old in before.items():
            if old_version != version:
                self._plane.remove(name, old_version)
            if old is not None:
                self._retire(old)

    def _retire(self, replaced: ModelInstance) -> None:
        """A request that has found an instance whose place another takes may still be on its way to it, no longer than it may take."""
        self._keep(asyncio.create_task(replaced.retire(self._request_timeout)))

    async def _unload_served(self, name: str) -> None:
        served = self._served(name)
        failed = [key for key in self._failed if key[0] == name]
        if not served and not failed and name not in await self._offered():
            raise RequestError(
                Code.NOT_FOUND, f"there is no model '{name}'; POST /v2/repository/index lists what there is"
            )
        for version in served:
            await self._unload_version(name, version)
        self._forget(failed)
        self._tell_availability(name)

    async def _unload_version(self, name: str, version: str) -> None:
        instance = self._plane.remove(name, version)
        self._stamps.pop((name, version), None)
        if instance is not None:
            await instance.unload(self._request_timeout)
        log.info("model '%s' version %s is unloaded", name, version)

    def _forget(self, failures: Sequence[tuple[str, str]]) -> None:
        for key in failures:
            del self._failed[key]

    def _tell_availability(self, name: str) -> None:
        """A model of which every version failed keeps the server from being ready, as the protocol has it."""
        reasons = {version: error.message for (failed, version), error in self._failed.items() if failed == name}
        self._plane.left_out = {key: why for key, why in self._plane.left_out.items() if key[0] != name}
        self._plane.left_out.update({(name, version): why for version, why in reasons.items() if version})
        if reasons and not self._served(name):
            self._plane.unavailable[name] = next(iter(reasons.values()))
        else:
            self._plane.unavailable.pop(name, None)

    def _served(self, name: str) -> dict[str, ModelInstance]:
        return {one.model.version: one for one in self._plane.instances if one.model.name == name}

    async def _offered(self) -> Mapping[str, tuple[Offer, ...]]:
        try:
            return await in_thread(self._offers, "index")
        except LoadError as error:
            raise _refusal(error) from error

    def _keep(self, task: asyncio.Task[None]) -> None:
        self._operations.add(task)
        task.add_done_callback(self._operations.discard)


def _refusal(error: LoadError) -> RequestError:
    return RequestError(_CODE.get(error.reason, Code.INVALID), f"{error.reason}: {error.message}")


def _by_version(key: tuple[str, str]) -> tuple[str, int, str]:
    name, version = key
    return name, int(version) if version.isdigit() else 0, version
