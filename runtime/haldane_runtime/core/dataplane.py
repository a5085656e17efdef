"""One data plane for every transport: what is served, whether it is ready, and inference."""

import asyncio
import contextlib
import time
from collections.abc import Callable
from enum import Enum, auto

from haldane_runtime.core.errors import Code, RequestError
from haldane_runtime.core.types import InferRequest, InferResponse, ServedModel
from haldane_runtime.engine.base import Engine
from haldane_runtime.observe.metrics import Metrics
from haldane_runtime.scheduling.queue import Outcome, Pending, RequestQueue
from haldane_runtime.scheduling.worker import EngineWorker


class Phase(Enum):
    """A runtime's life; it only moves forward."""

    LOADING = auto()
    SERVING = auto()
    DRAINING = auto()


class DataPlane:
    """Serves one model by name. All methods but `serve` belong to the event loop's thread."""

    def __init__(
        self, name: str, queue_limit: int, metrics: Metrics, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.name = name
        self.phase = Phase.LOADING
        self._queue = RequestQueue(queue_limit)
        self._metrics = metrics
        self._clock = clock
        self._model: ServedModel | None = None
        self._worker: EngineWorker | None = None

    @property
    def ready(self) -> bool:
        """True when loaded, warmed and not draining."""
        return self.phase is Phase.SERVING and self.live

    @property
    def live(self) -> bool:
        """False only when the engine thread is gone, which nothing but a restart mends."""
        return self._worker is None or self._worker.alive

    @property
    def state(self) -> str:
        """loading, serving or draining."""
        return self.phase.name.lower()

    @property
    def version(self) -> str | None:
        """The served model's version; None while it loads."""
        return self._model.version if self._model else None

    @property
    def queued(self) -> int:
        return len(self._queue)

    def serve(self, model: ServedModel, engine: Engine) -> None:
        """Take over a loaded and warmed engine; from now on the runtime is ready."""
        self._worker = EngineWorker(engine, self._queue, self._clock)
        self._worker.start()
        self._model = model
        self._metrics.loaded(model)
        if self.phase is Phase.LOADING:
            self.phase = Phase.SERVING

    def drain(self) -> None:
        """Not ready from now on; requests are still served."""
        self.phase = Phase.DRAINING

    def close(self, timeout: float) -> None:
        """Stop the engine thread, waiting at most `timeout` seconds for it."""
        if self._worker is not None:
            self._worker.stop(timeout)

    def model(self, name: str | None = None, version: str | None = None) -> ServedModel:
        """The served model, when it has that name and version; None means whichever is served.

        Raises:
            RequestError: NOT_FOUND for another name or version, UNAVAILABLE while it loads.
        """
        if name is not None and name != self.name:
            raise RequestError(Code.NOT_FOUND, f"unknown model '{name}'; this server serves '{self.name}'")
        model = self._model
        if model is None:
            raise RequestError(Code.UNAVAILABLE, f"model '{self.name}' is still loading; try again later")
        if version is not None and version != model.version:
            raise RequestError(
                Code.NOT_FOUND, f"model '{self.name}' has no version '{version}'; this server serves '{model.version}'"
            )
        return model

    def require_room(self) -> None:
        """Raises: RequestError: UNAVAILABLE, when a request would be refused now whatever it holds."""
        if not self.live:
            raise RequestError(Code.UNAVAILABLE, "the engine thread has ended; the server must be restarted")
        self._queue.require_room()

    async def infer(self, request: InferRequest, deadline: float) -> InferResponse:
        """Queue the request and wait for the engine; `deadline` is an instant of the clock.

        Raises:
            RequestError: UNAVAILABLE when the queue is full, the model not loaded or the engine thread
                gone, DEADLINE_EXCEEDED when the answer would come after `deadline`, MODEL_FAILED when
                the model fails.
        """
        model = self.model()
        self.require_room()
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Outcome] = loop.create_future()

        def deliver(outcome: Outcome) -> None:
            # Counted here and not where the answer is awaited: a run that outlives its waiter took its time, too.
            self._metrics.inference(outcome.finished - outcome.started)
            if not outcome.finite:
                self._metrics.nonfinite()
            # A closed loop means that the process ends: nobody waits.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(_resolve, answer, outcome)

        queued = self._clock()
        pending = Pending(request, deadline, deliver)
        self._queue.put(pending)
        try:
            outcome = await asyncio.wait_for(answer, max(0.0, deadline - queued))
        except TimeoutError:
            raise RequestError(
                Code.DEADLINE_EXCEEDED, f"model '{self.name}' did not answer within the request's deadline"
            ) from None
        finally:
            self._queue.abandon(pending)
        if outcome.outputs is None:
            raise _failure(outcome.error)
        return InferResponse(model, outcome.outputs, outcome.started - queued, outcome.finished - outcome.started)


def _resolve(answer: asyncio.Future[Outcome], outcome: Outcome) -> None:
    if not answer.done():
        answer.set_result(outcome)


def _failure(error: BaseException | None) -> RequestError:
    if isinstance(error, RequestError):
        return error
    return RequestError(Code.MODEL_FAILED, f"the engine failed: {type(error).__name__}: {error}")
