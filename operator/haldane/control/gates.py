"""Asks runtimes what the gates want to know, beside the passes and not in them: a pod that hangs must hold up nobody else.

A pass says what it wants to know and goes on; when the answers are there, the key is worked on again. What is found is kept
until status holds it, and asked anew when the operator dies before.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime

from haldane.api.v1alpha1 import ModelDeployment
from haldane.control.ports import Reply, Runtimes
from haldane.control.store import Key
from haldane.control.turns import Turns
from haldane.plan import gates_smoke as smoke
from haldane.plan.gates import Findings, Inquiry, Report, Told, inquiry, read_told
from haldane.plan.gates_verdicts import is_suspicious
from haldane.plan.observed import Observed

logger = logging.getLogger(__name__)

AT_ONCE, EACH = 6, 3
"""Inquiries under way, of all namespaces and of one: a namespace whose pods hang waits for them alone."""
METADATA_SECONDS = 5.0
REQUEST_SECONDS = 10.0
SMOKE_SECONDS = 10.0
"""No further request is sent to a pod in one round when those before took as long as this."""
ROUNDS = 3
PAUSE_SECONDS = 2.0
"""Before a pace that looks bad is measured again."""
LONGEST = 120.0
"""Seconds for one whole inquiry, once it is its turn."""


@dataclass
class _Errand:
    inquiry: Inquiry
    task: asyncio.Task[Findings]


class Gatekeeper:
    """The inquiries under way, one a ModelDeployment at most. Close it when done."""

    def __init__(self, runtimes: Runtimes, wake: Callable[[Key], None]) -> None:
        """`wake` is called with a key when there is news for its next pass."""
        self._runtimes = runtimes
        self._wake = wake
        self._turns = Turns(AT_ONCE, EACH)
        self._errands: dict[Key, _Errand] = {}

    def report(self, key: Key, md: ModelDeployment, target: str, observed: Observed, now: datetime) -> Report:
        """What is known by now. What a pass still wants to know is asked from here on.

        `target` is the revision that spec asks for.
        """
        wanted = inquiry(md, target, observed, now)
        errand = self._errands.get(key)
        if errand and (wanted is None or errand.inquiry.subject != wanted.subject):
            self.forget(key)
            errand = None
        if wanted is None:
            return Report()
        if errand is None:
            task = asyncio.create_task(self._run(key, md, wanted), name=f"gates of {key}")
            task.add_done_callback(lambda done: None if done.cancelled() else self._wake(key))
            self._errands[key] = _Errand(wanted, task)
            return Report()
        return Report(errand.task.result() if errand.task.done() else None)

    def forget(self, key: Key) -> None:
        """Give up what is asked for a key."""
        errand = self._errands.pop(key, None)
        if errand:
            errand.task.cancel()

    async def close(self) -> None:
        """Give up everything."""
        tasks = [errand.task for errand in self._errands.values()]
        for key in list(self._errands):
            self.forget(key)
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self, key: Key, md: ModelDeployment, wanted: Inquiry) -> Findings:
        try:
            async with self._turns.of(key.namespace), asyncio.timeout(LONGEST):
                return await self._examine(md, wanted)
        except TimeoutError:
            return Findings(wanted.subject, Told(silence=f"it took longer than {LONGEST:g} s"))
        except Exception:
            logger.exception("asking a runtime failed", extra={"key": str(key)})
            return Findings(wanted.subject, Told(silence="the operator failed to ask; its log says why"))

    async def _examine(self, md: ModelDeployment, wanted: Inquiry) -> Findings:
        theirs = None
        if wanted.stable_signature:
            theirs = Told(wanted.stable_signature)
        elif wanted.asks_signature and wanted.stable_pod:
            theirs = await self._metadata(wanted, wanted.stable_pod)
        if wanted.pod is None:
            return Findings(wanted.subject, None, theirs)
        own = await self._metadata(wanted, wanted.pod)
        requests = wanted.requests or (smoke.made_up(own.signature) if own.signature else ())
        found = Findings(wanted.subject, own, theirs, requests)
        if own.silence:
            return found
        for number in range(ROUNDS):
            if number:
                await asyncio.sleep(PAUSE_SECONDS)
            stables = await self._smoke(wanted, wanted.stable_pod, requests) if wanted.stable_pod else []
            mine = await self._smoke(wanted, wanted.pod, requests)
            found = replace(
                found,
                answers=(*found.answers, *mine),
                stable_answers=(*found.stable_answers, *stables),
            )
            if not is_suspicious(md, found):
                break
        return found

    async def _metadata(self, wanted: Inquiry, pod: str) -> Told:
        path = f"/v2/models/{wanted.model}"
        reply = await self._runtimes.ask(wanted.namespace, pod, path, None, METADATA_SECONDS)
        return read_reply(reply)

    async def _smoke(self, wanted: Inquiry, pod: str, requests: tuple[smoke.Request, ...]) -> list[smoke.Answer]:
        """Each request in turn, again and again; fewer when they take long, none after one that was not answered."""
        path = f"/v2/models/{wanted.model}/infer"
        answers: list[smoke.Answer] = []
        for number in range(smoke.turns(requests) * len(requests)):
            index = number % len(requests)
            body = dict(requests[index].body)
            reply = await self._runtimes.ask(wanted.namespace, pod, path, body, REQUEST_SECONDS)
            document = {"error": reply.problem} if reply.problem else reply.document
            answers.append(smoke.read_answer(index, reply.code, document, reply.seconds))
            if not reply.code or sum(answer.seconds for answer in answers) > SMOKE_SECONDS:
                break
        return answers


def read_reply(reply: Reply) -> Told:
    """What a runtime says of itself."""
    return read_told(reply.code, reply.document, reply.problem, is_cut_off=reply.is_cut_off)
