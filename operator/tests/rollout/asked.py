"""What the pods of a world answer when they are asked before any traffic."""

from __future__ import annotations

from typing import TYPE_CHECKING

from haldane.api.status import ModelDeploymentStatus
from haldane.api.v1alpha1 import ModelDeployment
from haldane.plan import gates_smoke as smoke
from haldane.plan.gates import NAMES, Findings, Inquiry, Told
from haldane.plan.gates_signature import Signature, Tensor

if TYPE_CHECKING:
    from .world import Behaviour, World


def signature(classes: int) -> Signature:
    """Of a model with so many classes."""
    return Signature((Tensor("x", "FP32", (-1, 64)),), (Tensor("y", "FP32", (-1, classes)),))


def found(world: World, wanted: Inquiry) -> Findings:
    """The outcome of an inquiry at once."""
    stable = world.behaviours[world.versions[wanted.subject.stable]]
    theirs = Told(wanted.stable_signature) if wanted.stable_signature else None
    if theirs is None and wanted.asks_signature and wanted.stable_pod:
        theirs = _told(stable)
    if wanted.subject.candidate is None or wanted.pod is None:
        return Findings(wanted.subject, None, theirs)
    behaviour = world.behaviours[world.versions[wanted.subject.candidate]]
    own = _told(behaviour)
    if own.signature is None:
        return Findings(wanted.subject, own, theirs)
    requests = smoke.made_up(own.signature)
    stables = _answers(stable, requests) if wanted.stable_pod else ()
    return Findings(wanted.subject, own, theirs, requests, _answers(behaviour, requests), stables)


def examine_gates(world: World, md: ModelDeployment, new: ModelDeploymentStatus) -> None:
    """No first weight without a verdict on everything, and what was never asked has not passed."""
    assert new.stable
    assert new.candidate
    gates = {gate.name: gate for gate in new.rollout.gates}
    assert set(gates) == set(NAMES), "nothing is passed over in silence"
    assert {gate.verdict for gate in gates.values()} <= {"Pass", "Skipped"}
    before, after = (world.behaviours[state.version].classes for state in (new.stable, new.candidate))
    is_allowed = md.spec.rollout.allow_signature_change or "allow" in gates["signature"].message
    assert before == after or is_allowed or gates["signature"].verdict == "Skipped"


def _told(behaviour: Behaviour) -> Told:
    if behaviour.mute:
        return Told(silence="connection refused")
    return Told(lacks="HTTP 404") if behaviour.classes == 0 else Told(signature(behaviour.classes))


def _answers(behaviour: Behaviour, requests: tuple[smoke.Request, ...]) -> tuple[smoke.Answer, ...]:
    if behaviour.mute:
        return (smoke.Answer(0, 0, 10.0, "no answer within 10 s"),)
    bad = frozenset("y") if behaviour.nonfinite else frozenset[str]()
    shapes = (("y", (1, behaviour.classes)),)
    turns = range(smoke.turns(requests) * len(requests))
    return tuple(
        smoke.Answer(number % len(requests), 200, behaviour.idle, nonfinite=bad, shapes=shapes) for number in turns
    )
