"""From a URI to a warm engine, step by step, each with its time in the log."""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from haldane_runtime.core.errors import LoadError, Reason
from haldane_runtime.core.types import ServedModel
from haldane_runtime.engine import batching
from haldane_runtime.engine.base import BatchProfile, Engine
from haldane_runtime.engine.batching import Budget
from haldane_runtime.engine.concurrency import LONG_SECONDS, runs_at_once
from haldane_runtime.engine.fixedcost import has_fixed_cost
from haldane_runtime.engine.memory import room_for_another
from haldane_runtime.engine.pair import Pair, pays
from haldane_runtime.engine.samples import Inputs
from haldane_runtime.engine.threads import usable_threads
from haldane_runtime.engine.trial import require_run
from haldane_runtime.settings import Settings
from haldane_runtime.store.fetch import S3Options, fetch
from haldane_runtime.store.location import parse

log = logging.getLogger(__name__)

# A small model is ready within a second; a GPU takes longer to start anyway, and gains more from large batches.
_BUDGET = {"cpu": Budget(plenty=0.06, most=1.5), "gpu": Budget(plenty=1.0, most=10.0)}


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A warm engine, what it serves and what batching does to it.

    `source` is the .onnx file that was fetched, `path` the one that was opened, which a lower precision
    makes another, `threads` how many a run takes, `inputs` some that the
    model takes, None when none were found, `golden_requests` how many it was held against. `reopen`
    opens it once more, with another number of threads.
    """

    model: ServedModel
    engine: Engine
    profile: BatchProfile
    source: Path
    path: Path
    threads: int
    inputs: Inputs | None
    golden_requests: int
    reopen: Callable[[int], Engine]


def load(settings: Settings) -> LoadedModel:
    """Fetch and verify the model, open a session and warm it up.

    Raises:
        LoadError: always this, whatever went wrong.
    """
    try:
        return _load(settings)
    except LoadError:
        raise
    except MemoryError as error:
        raise LoadError(Reason.LOAD_FAILED, "The model does not fit into the memory of this container.") from error
    except Exception as error:
        log.exception("the load failed")
        raise LoadError(Reason.LOAD_FAILED, f"The load failed: {type(error).__name__}: {error}.") from error


def _load(settings: Settings) -> LoadedModel:
    location = parse(settings.model_uri)
    with _step(f"fetched {location}"):
        fetched = fetch(
            location, settings.model_sha256, settings.cache_dir, S3Options(settings.s3_endpoint, settings.s3_region)
        )
    # Imported here so that the server answers its probes while ONNX Runtime is being read from disk.
    from haldane_runtime.opening import Opening

    opening = Opening(settings, fetched, location.folder)
    if settings.precision != "fp32":
        with _step(f"made it {settings.precision}"):
            opening.convert()
    with _step(f"opened the session on {settings.device}"):
        tuned = opening.open()
    engine = tuned.engine
    usable = usable_threads()
    if tuned.threads > usable:
        log.warning(
            "one run takes %d threads, as HALDANE_INTRA_OP_THREADS says, where %d could run at once; more only wait",
            tuned.threads,
            usable,
        )
    else:
        log.info("one run takes %d of the %d threads allowed", tuned.threads, usable)
    require_run(engine, tuned.trial)
    model = ServedModel(
        name=settings.model_name,
        version=settings.model_version or fetched.digest[:12],
        digest=fetched.digest,
        device=engine.device,
        precision=settings.precision,
        signature=engine.signature,
    )
    with _step("warmed up and measured"):
        profile = batching.profile(
            engine,
            tuned.trial.inputs,
            tuned.trial.seconds,
            settings.max_batch_size,
            _BUDGET[engine.device],
            opening.independence,
        )
        if profile.max_rows == 1 and tuned.trial.inputs is not None:
            seconds = profile.seconds.get(1, 0.0)
            engine, runs = beside_each_other(engine, tuned.threads, opening.reopen, tuned.trial.inputs, seconds)
            profile = replace(profile, runs=runs)
        profile = replace(profile, fixed_cost=has_fixed_cost(opening.path))
    if settings.precision == "int8" and not profile.batchable:
        log.info("with golden requests int8 is scaled once, by them, and not by the rows of each run")
    return LoadedModel(
        model,
        engine,
        profile,
        fetched.path,
        opening.path,
        tuned.threads,
        tuned.trial.inputs,
        opening.golden_requests,
        opening.reopen,
    )


def beside_each_other(
    engine: Engine, threads: int, reopen: Callable[[int], Engine], inputs: Inputs, seconds: float
) -> tuple[Engine, int]:
    """How many runs at once the server would allow a model that it does not batch, and the engine to do them with.

    `threads` are what one run takes, `seconds` how long. Up to one run for each processor that may be used, however few
    threads one was given: a setting that makes a run smaller must not take the others away.
    """
    most = usable_threads()
    if seconds < LONG_SECONDS or engine.device != "cpu" or most == 1 or not room_for_another():
        return engine, 1
    one = batching.single(engine.signature, inputs)
    pair = _pair(engine, reopen, most) if threads > 1 else None
    runs = runs_at_once(pair or engine, one, seconds, most, _BUDGET["cpu"].most)
    if pair is None:
        return engine, runs
    if not pays(most, runs):
        return pair.part(), runs
    log.info("opened twice: a run that is alone takes %d threads, one beside others takes 1", threads)
    return pair, runs


def _pair(engine: Engine, reopen: Callable[[int], Engine], most: int) -> Pair | None:
    try:
        pair = Pair(engine, reopen(1), most)
    except LoadError:
        # Once it was opened: what a second time lacks is memory.
        return None
    if room_for_another():
        return pair
    pair.part()
    return None


@contextmanager
def _step(what: str) -> Iterator[None]:
    started = time.monotonic()
    yield
    log.info("%s in %.2f s", what, time.monotonic() - started)
