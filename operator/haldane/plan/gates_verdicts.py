"""What an inquiry found -> a verdict on each gate, each with a sentence, and the signatures that were learnt."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Literal

from haldane.api.status import GateStatus, ModelDeploymentStatus, RevisionStatus
from haldane.api.v1alpha1 import RETRY_ANNOTATION, ModelDeployment
from haldane.plan import gates_smoke as smoke
from haldane.plan.gates import NO_SIGNATURE, Findings, Told, has_waited, open_gates
from haldane.plan.gates_signature import Signature, differences, from_text, to_text, told
from haldane.plan.verdicts import seconds

LONGEST_MESSAGE = 1024
AND_RETRY = f"and the annotation {RETRY_ANNOTATION} to a new value"
ALLOW = f"if all clients are ready for it, set rollout.allowSignatureChange: true, {AND_RETRY}"

Verdict = Literal["Pass", "Fail", "Inconclusive", "Skipped"]
_Said = tuple[str, Verdict, str]


def recorded(md: ModelDeployment, findings: Findings | None, now: datetime) -> ModelDeployment:
    """The object with the verdicts on what an inquiry found, and with the signatures that it learnt, in its status."""
    status, stable = md.status, md.status.stable
    if findings is None or stable is None or findings.subject.stable != stable.revision:
        return md
    candidate = status.candidate
    if findings.subject.candidate != (candidate.revision if candidate else None):
        return md
    changes: dict[str, object] = {"stable": _knowing(stable, findings.theirs)}
    if candidate:
        changes["candidate"] = _knowing(candidate, findings.own)
        verdicts = list(_verdicts(md, stable, candidate, findings, now))
    else:
        verdicts = list(_stables_own(stable, findings))
    errors = sum(answer.code == 0 or answer.code >= 500 for answer in findings.answers)
    gates = [_merged(status, verdict, errors, now) for verdict in verdicts]
    changes["rollout"] = status.rollout.model_copy(update={"gates": gates})
    return md.model_copy(update={"status": status.model_copy(update=changes)})


def is_suspicious(md: ModelDeployment, findings: Findings) -> bool:
    """Whether the pace alone would refuse the candidate: then it is measured again, for a busy node is no slow model."""
    stable, measured = md.status.stable, smoke.pace(findings.answers, findings.stable_answers)
    return stable is not None and measured is not None and bool(smoke.too_slow(md.spec, measured, ""))


def _merged(status: ModelDeploymentStatus, said: _Said, errors: int, now: datetime) -> GateStatus:
    """A gate as it stands now. What was decided once stays decided."""
    name, verdict, message = said
    before = next((gate for gate in status.rollout.gates if gate.name == name), None)
    if before and before.verdict != "Inconclusive":
        return before
    tried = any(gate.name == name for gate in open_gates(status))
    since = before.since if before and tried else now
    sentence, counted = message[:LONGEST_MESSAGE], errors or None
    return GateStatus(name=name, verdict=verdict, message=sentence, errors=counted, since=since, at=now)


def _knowing(revision: RevisionStatus, told_: Told | None) -> RevisionStatus:
    if revision.signature is not None or told_ is None or told_.silence:
        return revision
    text = to_text(told_.signature) if told_.signature else NO_SIGNATURE
    return revision.model_copy(update={"signature": text})


def _stables_own(stable: RevisionStatus, findings: Findings) -> Iterator[_Said]:
    theirs = findings.theirs
    if theirs and theirs.silence:
        yield (
            "signature",
            "Inconclusive",
            f"version {stable.version} could not be asked what it takes: {theirs.silence}",
        )
    elif theirs and theirs.signature and to_text(theirs.signature) is None:
        yield "signature", "Skipped", f"the signature of version {stable.version} is too long to be kept"


def _verdicts(
    md: ModelDeployment, stable: RevisionStatus, candidate: RevisionStatus, findings: Findings, now: datetime
) -> Iterator[_Said]:
    own, theirs = findings.own or Told(silence="it was not asked"), findings.theirs
    known = from_text(stable.signature) or (theirs.signature if theirs else None)
    yield _signature(md, stable, candidate, own, theirs, known, now)
    promised = None if md.spec.rollout.allow_signature_change else known
    yield _answers(stable, candidate, own, findings, promised)
    yield _latency(md, stable, candidate, own, findings)


def _signature(
    md: ModelDeployment,
    stable: RevisionStatus,
    candidate: RevisionStatus,
    own: Told,
    theirs: Told | None,
    known: Signature | None,
    now: datetime,
) -> _Said:
    is_allowed = bool(md.spec.rollout.allow_signature_change)
    if own.lacks:
        return "signature", "Skipped", f"not compared: version {candidate.version} does not tell it: {own.lacks}"
    if own.signature is None:
        return "signature", "Inconclusive", f"version {candidate.version} could not be asked: {own.silence}"
    if known is None:
        if theirs and theirs.silence and not is_allowed:
            return "signature", "Inconclusive", f"version {stable.version} could not be asked: {theirs.silence}"
        is_away = theirs is None and stable.signature is None and md.status.rollout.strategy != "Recreate"
        if is_away and not is_allowed and not has_waited(md, now):
            return "signature", "Inconclusive", f"no pod of version {stable.version} is ready to be asked what it takes"
        # A stable that does not come up must not stand in the way of what may replace it.
        why = (theirs.lacks if theirs else None) or "its runtime tells none"
        why = "none of its pods is ready" if is_away else why
        return "signature", "Skipped", f"not compared: version {stable.version} does not tell it: {why}"
    found = differences(known, own.signature, f"version {stable.version}")
    if not found:
        return "signature", "Pass", f"takes and gives what version {stable.version} does"
    if is_allowed:
        return "signature", "Pass", f"differs, as allowSignatureChange allows: {told(found)}"
    return "signature", "Fail", f"{told(found)}: {ALLOW}"


def _answers(
    stable: RevisionStatus, candidate: RevisionStatus, own: Told, findings: Findings, promised: Signature | None
) -> _Said:
    requests, answers = findings.requests, findings.answers
    if (untried := _untried("answers", candidate, own, findings)) is not None:
        return untried
    reason = (
        smoke.failed(requests, answers, findings.stable_answers)
        or smoke.nonfinite(requests, answers, findings.stable_answers)
        or smoke.misshapen(requests, answers, promised, stable.version)
    )
    if reason:
        return "answers", "Fail", reason
    good = [answer for answer in answers if answer.is_good]
    if not good:
        return "answers", "Skipped", f"it takes none of the requests: {answers[-1].problem}"
    if all(answer.unreadable for answer in good):
        return "answers", "Skipped", "its answers are too long to be looked at, or no JSON of the protocol"
    return "answers", "Pass", f"{len(good)} requests were answered with numbers"


def _latency(
    md: ModelDeployment, stable: RevisionStatus, candidate: RevisionStatus, own: Told, findings: Findings
) -> _Said:
    if (untried := _untried("latency", candidate, own, findings)) is not None:
        return untried
    measured = smoke.pace(findings.answers, findings.stable_answers)
    if measured is None:
        return "latency", "Skipped", "nothing was answered that could be timed"
    if reason := smoke.too_slow(md.spec, measured, stable.version):
        verb = "raise" if md.spec.rollout.smoke_latency else "set"
        return "latency", "Fail", f"{reason}: if that is fast enough, {verb} rollout.smokeLatency, {AND_RETRY}"
    theirs = f", {seconds(measured.theirs)} in version {stable.version}" if measured.theirs is not None else ""
    return "latency", "Pass", f"{seconds(measured.own)} for the fastest of {measured.timed} requests{theirs}"


def _untried(gate: str, candidate: RevisionStatus, own: Told, findings: Findings) -> _Said | None:
    """The verdict where there are no answers; None where there are some."""
    version, answers = candidate.version, findings.answers
    if own.silence:
        return gate, "Inconclusive", f"version {version} could not be asked: {own.silence}"
    if own.lacks and not findings.requests:
        return gate, "Skipped", f"nothing was asked of version {version}: {own.lacks}"
    if not findings.requests:
        return gate, "Skipped", "no request can be made up by its signature: give golden requests"
    if any(answer.code == 404 for answer in answers):
        return gate, "Skipped", f"nothing was asked of version {version}: {answers[-1].problem}"
    unanswered = [answer for answer in answers if answer.code in (0, 429, 502, 503, 504)]
    if not answers or unanswered:
        why = unanswered[0].problem if unanswered else "nothing came back"
        return gate, "Inconclusive", f"version {version} did not answer: {why}"
    return None
