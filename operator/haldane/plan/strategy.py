"""How a new revision takes over: by steps (Canary), in one switch (BlueGreen), or after the old pods have gone (Recreate).

One engine carries out all three. BlueGreen is a canary with one step, of weight 0, at full size; Recreate has its own way of
getting the candidate's pods and of bringing the old ones back (`recreate`), and shares everything else.
"""

from __future__ import annotations

from typing import Literal

from haldane.api.rollout import Rollout, Step
from haldane.api.status import RolloutStatus
from haldane.api.v1alpha1 import ModelDeployment

Strategy = Literal["Canary", "BlueGreen", "Recreate"]


def chosen(md: ModelDeployment) -> Strategy:
    """What the spec asks of the next rollout."""
    return md.spec.rollout.strategy or "Canary"


def running(md: ModelDeployment) -> Strategy:
    """What the rollout under way began as: an edit of the strategy is for the next one. At rest, what the spec asks for."""
    rollout = md.status.rollout
    if rollout.phase in ("Initializing", "Stable"):
        return chosen(md)
    return (
        "BlueGreen" if rollout.strategy == "BlueGreen" else "Recreate" if rollout.strategy == "Recreate" else "Canary"
    )


def in_effect(md: ModelDeployment, strategy: Strategy | None = None) -> ModelDeployment:
    """The object with the steps that its strategy takes, so that nobody who looks at steps has to know of strategies."""
    strategy = strategy or running(md)
    given = md.spec.rollout.steps
    if strategy == "Canary" and (chosen(md) == "Canary" or any(step.weight for step in given)):
        return md
    if strategy == "Canary":
        # Edited into a switch on its way: those steps are for the next rollout, and prove nothing of this one.
        steps = Rollout().steps
    else:
        looks = [step for step in given if step.weight == 0][:1]
        steps = looks if strategy == "BlueGreen" and looks else [Step(weight=0, hold="0s")]
    rollout = md.spec.rollout.model_copy(update={"steps": steps})
    return md.model_copy(update={"spec": md.spec.model_copy(update={"rollout": rollout})})


def step_index(md: ModelDeployment, rollout: RolloutStatus) -> int:
    """Which of the steps is under way by this status; the last one when steps were taken out of the spec meanwhile."""
    return min(rollout.step or 0, len(md.spec.rollout.steps) - 1)


def current_step(md: ModelDeployment, rollout: RolloutStatus) -> Step:
    """The step that is under way by this status."""
    return md.spec.rollout.steps[step_index(md, rollout)]


def previews(md: ModelDeployment) -> bool:
    """Whether a request header leads to the candidate, so that there is something to judge before it has a share."""
    ingress = md.spec.traffic.ingress
    return ingress is not None and ingress.preview_header is not None


def checks_decide(md: ModelDeployment, step: Step) -> bool:
    """Whether a step passes by its checks.

    Without a header that leads to it, nothing reaches a candidate of weight 0 that a check could judge; and where a person looks
    at it, the person decides. A check that fails has rolled it back before, either way.
    """
    return step.weight > 0 or (previews(md) and not step.approval)
