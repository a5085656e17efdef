"""SIGKILL to the operator in every phase of a good and of a bad rollout, with traffic on: both end as they must, and no request is lost."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from e2e.harness.kube import OPERATOR_NAMESPACE
from e2e.scenarios import operator_pod
from e2e.scenarios.manifest import Manifest
from e2e.scenarios.place import Place
from e2e.scenarios.scenario import scenario
from e2e.scenarios.timetable import OPERATOR, PROMETHEUS
from haldane.api.v1alpha1 import ModelDeployment

_BACK_SECONDS = 60.0
_LAST_WORD_SECONDS = 0.5
ROUNDS = 2
"""Rollouts of a good version, at the most: on a busy machine a kill may come too late for its phase."""
WATCHED: Manifest = {"rollout": {"keepStableFor": "8s", "watchAfterPromotion": "8s"}}


@dataclass(frozen=True)
class Phase:
    """A part of a rollout in which the operator is to be killed."""

    name: str
    is_now: Callable[[ModelDeployment], bool]


def _promoting(md: ModelDeployment) -> bool:
    return md.status.rollout.phase == "Promoting" and md.status.rollout.weight == 100


GOOD: Final = (
    Phase("Preparing", lambda md: md.status.rollout.phase == "Preparing"),
    Phase("Progressing", lambda md: md.status.rollout.phase == "Progressing"),
    Phase("Promoting, at 100 %", lambda md: _promoting(md) and md.status.candidate is not None),
    Phase("Promoting, in the handover", lambda md: _promoting(md) and md.status.previous is not None),
    Phase("Watching", lambda md: md.status.rollout.phase == "Watching"),
)
BAD: Final = (Phase("RollingBack", lambda md: md.status.rollout.phase == "RollingBack"),)


@scenario(seconds=300, needs=[PROMETHEUS], breaks=[OPERATOR])
async def test_killed_in_every_phase(place: Place) -> None:
    """Once in each; `make soak` does it fifty times at random instants, and more besides."""
    await operator_pod.renew(place)
    await place.first_deployment("v1", WATCHED)
    met: list[Phase] = []
    rounds = 0
    async with place.traffic():
        while len(met) < len(GOOD) and rounds < ROUNDS:
            version = ("v2", "v1")[rounds]
            rounds += 1
            generation = await place.apply(version, WATCHED)
            met += await killed_in(place, [phase for phase in GOOD if phase not in met], generation)
            md = await place.until_stable(version, generation, seconds=120)
            assert not md.status.rejected
        generation = await place.apply("v4-broken", WATCHED)
        met += await killed_in(place, BAD, generation)
        md = await place.until_rolled_back("v4-broken", seconds=90)
    place.answers.must_have_lost_nothing(own=["v4-broken"])
    assert met == [*GOOD, *BAD], [phase.name for phase in met]
    assert place.weights() == [0, *[20, 50, 100, 0] * rounds, 20, 0]
    assert [entry.outcome for entry in md.status.history] == ["Promoted"] * (1 + rounds) + ["RolledBack"]
    assert [entry.reason for entry in md.status.rejected] == ["CheckFailed"]
    assert len(place.pods) == 2 + rounds, "an operator that comes back makes no pod twice"


async def killed_in(place: Place, phases: Sequence[Phase], generation: int) -> list[Phase]:
    """Kill it as soon as each phase begins, in their order, until the rollout of this generation is over; those in which its last word was of the phase."""
    met = []
    for phase in phases:
        aimed = await operator_pod.aim(place, _BACK_SECONDS)

        def is_due(md: ModelDeployment, phase: Phase = phase) -> bool:
            is_over = md.status.observed_generation == generation and md.status.rollout.phase == "Stable"
            return phase.is_now(md) or is_over

        md = await place.until(phase.name, is_due)
        if not phase.is_now(md):
            place.say(f"{phase.name} was over before the operator was back")
            continue
        await aimed.kill()
        began = place.time
        await asyncio.sleep(_LAST_WORD_SECONDS)
        rollout = place.now.status.rollout
        place.say(f"operator killed for {phase.name}, in {rollout.phase} at weight {rollout.weight} %")
        if phase.is_now(place.now):
            met.append(phase)
        if aimed.restarts:
            # The kubelet would let it wait.
            await place.kube.kubectl("delete", "pod", "-n", OPERATOR_NAMESPACE, aimed.pod, "--wait=false")
        await operator_pod.until_back(place, aimed.container, _BACK_SECONDS, ready=False)
        place.say(f"operator back after {place.time - began:.1f} s")
    await operator_pod.until_back(place, "", _BACK_SECONDS)
    return met
