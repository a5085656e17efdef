"""From a URI to a warm engine, step by step, each with its time in the log."""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from haldane_runtime.core.errors import LoadError, Reason, RequestError
from haldane_runtime.core.types import NUMPY_DTYPE, Array, Datatype, ModelSignature, ServedModel
from haldane_runtime.engine.base import BatchProfile, Engine
from haldane_runtime.engine.threads import usable_threads
from haldane_runtime.settings import Settings
from haldane_runtime.store.fetch import S3Options, fetch
from haldane_runtime.store.location import parse

log = logging.getLogger(__name__)

WARMUP_RUNS = 3


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A warm engine, what it serves and what batching does to it."""

    model: ServedModel
    engine: Engine
    profile: BatchProfile


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
    threads = settings.intra_op_threads or usable_threads()
    with _step(f"opened the session on {settings.device} with {threads} threads"):
        # Imported here so that the server answers its probes while ONNX Runtime is being read from disk.
        from haldane_runtime.engine import onnx

        engine: Engine = onnx.load(fetched.path, settings.device, threads)
    model = ServedModel(
        name=settings.model_name,
        version=settings.model_version or fetched.digest[:12],
        digest=fetched.digest,
        device=engine.device,
        signature=engine.signature,
    )
    with _step("warmed up"):
        warm_up(engine)
    return LoadedModel(model, engine, BatchProfile(False, "Nothing has shown that its rows are independent.", 1, {}))


def warm_up(engine: Engine) -> None:
    """Run the model on zeros, so that the first client does not pay for allocations.

    On a CPU a failing warm-up is only logged: made-up inputs may be rightly refused (an encoder
    that knows no category 0, a convolution wider than one pixel). On a GPU it is how a driver that
    does not work shows itself.

    Raises:
        LoadError: LoadFailed, on a GPU.
    """
    inputs = warm_up_inputs(engine.signature)
    outputs = [spec.name for spec in engine.signature.outputs]
    try:
        for _ in range(WARMUP_RUNS):
            engine.run(inputs, outputs)
    except RequestError as error:
        if engine.device == "gpu":
            raise LoadError(Reason.LOAD_FAILED, f"The model does not run on the GPU: {error.message}.") from error
        log.warning("the warm-up on zeros failed, which may be right for this model: %s", error.message)


def warm_up_inputs(signature: ModelSignature) -> dict[str, Array]:
    """Zeros (empty strings) with every dynamic dimension at 1."""
    return {
        spec.name: np.full(
            [dim if isinstance(dim, int) else 1 for dim in spec.shape],
            "" if spec.datatype is Datatype.BYTES else 0,
            dtype=NUMPY_DTYPE[spec.datatype],
        )
        for spec in signature.inputs
    }


@contextmanager
def _step(what: str) -> Iterator[None]:
    started = time.monotonic()
    yield
    log.info("%s in %.2f s", what, time.monotonic() - started)
