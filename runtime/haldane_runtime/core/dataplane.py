"""One data plane for every transport: which models are served, and whether the server is ready."""

import time
from collections.abc import Callable, Mapping
from enum import Enum, auto

from haldane_runtime.cache.responses import ResponseCache
from haldane_runtime.core.errors import Code, RequestError
from haldane_runtime.core.instance import ModelInstance
from haldane_runtime.core.intake import Intake
from haldane_runtime.core.types import ServedModel
from haldane_runtime.core.watch import Watch
from haldane_runtime.engine.base import BatchProfile, Engine
from haldane_runtime.observe.metrics import Metrics, ModelMetrics
from haldane_runtime.scheduling.batcher import Batcher
from haldane_runtime.scheduling.policy import Limits

LOADING_RETRY_SECONDS = 1.0
# The metrics' label for names that clients made up, which must not become series.
UNKNOWN_MODEL = "unknown"


class Phase(Enum):
    """A runtime's life; it only moves forward."""

    LOADING = auto()
    SERVING = auto()
    DRAINING = auto()


class DataPlane:
    """Models by name and version. All methods belong to the event loop's thread.

    `expected` names the model that will be served, when there is only one: until it is loaded it is
    UNAVAILABLE and not NOT_FOUND. `unavailable` says why, by name, for models that should be served
    and are not, and `left_out` by name and version, which may be one of several: the others serve.
    """

    def __init__(
        self,
        metrics: Metrics,
        limits: Limits | None = None,
        expected: str | None = None,
        cache: ResponseCache | None = None,
        watch: Watch | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.phase = Phase.LOADING
        # Asked for every request, and so no property.
        self.draining = False
        self.metrics = metrics
        self.expected = expected
        self.watch = watch
        self.unavailable: dict[str, str] = {}
        self.left_out: dict[tuple[str, str], str] = {}
        self._limits = limits or Limits()
        self.intake = Intake(self._limits.bytes)
        self._cache = cache
        self._clock = clock
        self._models: dict[str, dict[str, ModelInstance]] = {}
        # Changes with the models, so that what was looked up can be kept until then.
        self.generation = 0
        # Called after every change of the models and of the phase.
        self.changed: list[Callable[[], None]] = []
        metrics.waiting = self._waiting
        if expected is not None:
            metrics.model(expected)

    @property
    def ready(self) -> bool:
        """True when every model is loaded and warmed, and the server does not drain."""
        return self.serving and not self.unavailable

    @property
    def serving(self) -> bool:
        """True when the models that are loaded answer, whatever became of others."""
        return self.phase is Phase.SERVING and self.live

    @property
    def hindrance(self) -> str:
        """Why the server is not ready, as a sentence; empty when it is."""
        if self.ready:
            return ""
        if self.serving:
            return "; ".join(f"model '{name}' could not be loaded: {why}" for name, why in self.unavailable.items())
        subject = "the models are" if self.expected is None else f"model '{self.expected}' is"
        return f"{subject} not ready: the server is {self.state}"

    @property
    def live(self) -> bool:
        """False only when an engine thread is gone, which nothing but a restart mends."""
        return all(instance.batcher.alive for instance in self.instances)

    @property
    def revision(self) -> str:
        """The pod's revision, as its metrics have it."""
        return self.metrics.revision

    @property
    def state(self) -> str:
        """loading, serving or draining."""
        return self.phase.name.lower()

    @property
    def instances(self) -> list[ModelInstance]:
        """Every loaded model version."""
        return [instance for versions in self._models.values() for instance in versions.values()]

    @property
    def version(self) -> str | None:
        """The version of the only model served; None with several or while it loads."""
        instances = self.instances
        return instances[0].model.version if len(instances) == 1 else None

    def add(self, model: ServedModel, engine: Engine, profile: BatchProfile) -> ModelInstance:
        """Serve a loaded and warmed model from now on; one of the same name and version is replaced, not closed."""
        metrics = self.metrics.model(model.name)
        batcher = Batcher(model, engine, profile, self._limits, metrics, self._clock)
        instance = ModelInstance(model, profile, batcher, metrics, self._cache)
        self._models.setdefault(model.name, {})[model.version] = instance
        self.generation += 1
        self._count_served(model.name)
        self._tell()
        return instance

    def serve(self) -> None:
        """Ready from now on, unless it drains already."""
        if self.phase is Phase.LOADING:
            self.phase = Phase.SERVING
            self._tell()

    def remove(self, name: str, version: str) -> ModelInstance | None:
        """Take a model version away; new requests do not find it any more. Its `unload` is the caller's."""
        versions = self._models.get(name, {})
        instance = versions.pop(version, None)
        self.generation += 1
        if not versions:
            self._models.pop(name, None)
        self._count_served(name)
        self._tell()
        return instance

    def drain(self) -> None:
        """Not ready from now on; requests are still served."""
        self.phase = Phase.DRAINING
        self.draining = True
        self._tell()

    def close(self, timeout: float) -> None:
        """Stop the engines, waiting at most `timeout` seconds for each."""
        for instance in self.instances:
            instance.batcher.close(timeout)

    def find(self, name: str | None = None, version: str | None = None) -> ModelInstance:
        """The model of that name and version; the latest version when none is named.

        None as the name means the only model that is served.

        Raises:
            RequestError: NOT_FOUND for another name or version, UNAVAILABLE while it loads, INVALID when a
                name is needed and none is given.
        """
        if name is None:
            name = self._only()
        versions = self._models.get(name)
        if versions is None:
            if self.phase is Phase.LOADING and name == (self.expected or name):
                raise RequestError(
                    Code.UNAVAILABLE, f"model '{name}' is still loading; try again later", LOADING_RETRY_SECONDS
                )
            if name in self.unavailable:
                raise RequestError(Code.UNAVAILABLE, f"model '{name}' could not be loaded: {self.unavailable[name]}")
            raise RequestError(Code.NOT_FOUND, f"unknown model '{name}'; this server serves {self._names()}")
        if version is None:
            return versions[max(versions, key=_rank)] if len(versions) > 1 else next(iter(versions.values()))
        instance = versions.get(version)
        if instance is None:
            if why := self.left_out.get((name, version)):
                raise RequestError(Code.UNAVAILABLE, f"model '{name}' version {version} could not be loaded: {why}")
            served = ", ".join(f"'{known}'" for known in sorted(versions, key=_rank))
            raise RequestError(
                Code.NOT_FOUND, f"model '{name}' has no version '{version}'; this server serves {served}"
            )
        return instance

    def metrics_of(self, name: str | None) -> ModelMetrics:
        """Where a request for `name` counts, also when there is no such model."""
        if name not in self._models:
            name = self.expected or UNKNOWN_MODEL
        return self.metrics.model(name)

    def _only(self) -> str:
        if self.expected is not None:
            return self.expected
        if len(self._models) == 1:
            return next(iter(self._models))
        if not self._models and self.phase is Phase.LOADING:
            raise RequestError(Code.UNAVAILABLE, "the models are still loading; try again later", LOADING_RETRY_SECONDS)
        raise RequestError(
            Code.INVALID,
            f"name the model, over HTTP as in /v1/models/<name>:predict; this server serves {self._names()}",
        )

    def _names(self) -> str:
        names = sorted(self._models) or ([self.expected] if self.expected else [])
        return ", ".join(f"'{name}'" for name in names) or "no model"

    def _tell(self) -> None:
        for listener in self.changed:
            listener()

    def _count_served(self, name: str) -> None:
        self.metrics.model(name).served = [instance.model for instance in self._models.get(name, {}).values()]

    def _waiting(self) -> Mapping[str, tuple[int, int]]:
        waiting: dict[str, tuple[int, int]] = {}
        for instance in self.instances:
            requests, rows = waiting.get(instance.model.name, (0, 0))
            queued = instance.batcher.queued
            waiting[instance.model.name] = (requests + queued.requests, rows + queued.rows)
        return waiting


def _rank(version: str) -> tuple[int, str]:
    """Numbers in their own order, above every other text."""
    return (int(version), version) if version.isdigit() else (-1, version)
