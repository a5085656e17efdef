"""One loaded model version: what a transport needs to ask it and to count what came of it."""

import asyncio
import contextlib

from haldane_runtime.cache.responses import ResponseCache
from haldane_runtime.core.cached import CachedQueue
from haldane_runtime.core.errors import RequestError
from haldane_runtime.core.holders import Holders
from haldane_runtime.core.types import InferRequest, InferResponse, ServedModel
from haldane_runtime.engine.base import BatchProfile
from haldane_runtime.observe.metrics import ModelMetrics
from haldane_runtime.scheduling.batcher import Batcher
from haldane_runtime.scheduling.ticket import Outcome

_THREAD_END_SECONDS = 1.0


class ModelInstance:
    """Belongs to the event loop's thread; `ready` is False once it is being unloaded.

    `submit` and `infer` are two ways to the same queue: with a callback for the paths that are
    answered without a task, and to be awaited for the others. Who finds an instance and submits in a
    later turn of the loop calls `hold` before and `release` afterwards: until then a version that
    another has replaced is not closed.
    """

    def __init__(
        self,
        model: ServedModel,
        profile: BatchProfile,
        batcher: Batcher,
        metrics: ModelMetrics,
        cache: ResponseCache | None = None,
    ) -> None:
        self.model = model
        self.profile = profile
        self.metrics = metrics
        self.ready = True
        self.batcher = batcher
        self._holders = Holders()
        self.hold = self._holders.hold
        self.release = self._holders.release
        queue = batcher if cache is None else CachedQueue(model, batcher, cache, self._holders)
        self.admit = batcher.admit
        self.foresee = batcher.foresee
        self.submit = queue.submit
        self.cancel = queue.cancel

    async def infer(self, request: InferRequest, deadline: float) -> InferResponse:
        """Queue the request and wait for its outcome; `deadline` is an instant of the clock.

        Raises:
            RequestError: UNAVAILABLE when there is no room, DEADLINE_EXCEEDED when the answer would come
                after `deadline`, INVALID or MODEL_FAILED as the model itself says.
        """
        answer: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()

        def deliver(outcome: Outcome) -> None:
            if not answer.done():
                answer.set_result(outcome)

        ticket = self.submit(request, deadline, deliver)
        try:
            outcome = await answer
        finally:
            self.cancel(ticket)
        if isinstance(outcome, RequestError):
            raise outcome
        return outcome

    async def retire(self, seconds: float) -> None:
        """Unload once nobody who has found it is still on the way to it, or after `seconds`."""
        await self._holders.gone(seconds)
        await self.unload(seconds)

    async def unload(self, seconds: float) -> None:
        """Admit nothing more, let what waits and runs end within `seconds`, then close the engine."""
        self.ready = False
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.batcher.finish(), seconds)
        # The thread of an idle engine ends at once; one that still runs is not waited for.
        self.batcher.close(_THREAD_END_SECONDS if self.batcher.idle else 0.0)
