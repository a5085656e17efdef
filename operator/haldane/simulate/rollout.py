"""One whole rollout of a user's own spec, played through the operator's own decisions in simulated time.

`asking.queries`, `analysis.judge` and `rollout.step` are the very functions that the operator calls. Around them are pods
that are ready after a while, a route that follows at once, and Prometheus with its scrapes, gaps and extrapolation.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import numpy as np

from haldane.api.quantity import parse_duration
from haldane.api.status import ModelDeploymentStatus, RevisionStatus, RolloutStatus
from haldane.api.v1alpha1 import ModelDeployment
from haldane.plan.analysis import Analysis, judge
from haldane.plan.asking import SCRAPED, SCRAPED_BEFORE, due_at, instant, queries
from haldane.plan.capacity import wanted_pods
from haldane.plan.observed import Answer, Event, Observed, RevisionPods, Series, Unavailable
from haldane.plan.queries import BOUNDS
from haldane.plan.revision import Revision
from haldane.plan.rollout import LOOK_AGAIN, step
from haldane.plan.situation import Decision
from haldane.simulate.counters import ERRORS, FIRST_BUCKET, TOTAL, Counters
from haldane.simulate.traffic import Fault, Floats, Service, Surroundings

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
BEGIN = 300
"""Second at which the new version is asked for; stable has served alone until then."""
READY_AFTER = 20
"""Seconds from when the candidate's pods are asked for until they are ready."""
STABLE, CANDIDATE = "stable", "candidate"
_WINDOW = re.compile(r"\[(\d+)s\]")
_OFFSET = re.compile(r" offset (\d+)s")
_AWAY = Unavailable("Prometheus cannot be reached")
_BOUNDS = (*(f"{bound:g}" for bound in BOUNDS), "+Inf")


@dataclass(frozen=True)
class Moment:
    """What a rollout was at a second after it was asked for."""

    second: int
    phase: str
    weight: int
    status: RolloutStatus


@dataclass
class Course:
    """How one rollout went. Times are seconds after it was asked for."""

    outcome: str = "undecided"
    """`promoted`, `rolled back` or `undecided`."""
    ended: int | None = None
    """When it was promoted, or its weight was taken away."""
    step: int | None = None
    """The step at which it was rolled back."""
    step_ended: dict[int, int] = field(default_factory=dict)
    """When each step was left for the next one."""
    hold_ends: dict[int, int] = field(default_factory=dict)
    """When each step's hold was to end."""
    check: str = ""
    message: str = ""
    first_weight: int | None = None
    served: float = 0.0
    """Requests that the candidate answered up to the horizon, as expected."""
    spoilt: float = 0.0
    """Those of them that the fault spoilt: errors, or answers slower than stable's p99, which stable would not have given."""
    moments: list[Moment] = field(default_factory=list)
    events: list[tuple[int, Event]] = field(default_factory=list)

    @property
    def duration(self) -> int | None:
        """Seconds from the first request to the end."""
        return None if self.ended is None or self.first_weight is None else self.ended - self.first_weight


class Play:
    """Plays one rollout. The surroundings may be shared by several; every other chance comes from `random`."""

    def __init__(
        self,
        md: ModelDeployment,
        around: Surroundings,
        fault: Fault,
        random: np.random.Generator,
        keep: bool = False,
        unseen: int = 0,
    ) -> None:
        self._around = around
        self._horizon = len(around.rate) - 1
        self._keep = keep
        self._stable = Counters(around, random)
        self._candidate = Counters(around, random, fault, unseen=unseen)
        self._stable.serve(1.0, 0)
        stable = RevisionStatus(revision=STABLE, version="stable", replicas=md.spec.scaling.min_replicas)
        status = ModelDeploymentStatus(stable=stable, rollout=RolloutStatus(phase="Stable"))
        self._md = md.model_copy(update={"status": status})
        self._target = Revision(CANDIDATE, "candidate", None, {})
        self._asked_at: int | None = None
        self._share = 0.0

    def run(self, until: Callable[[RolloutStatus], bool] | None = None) -> Course:
        """Play until rest, or the horizon, or `until` holds."""
        course, now = Course(), BEGIN
        while now < self._horizon:
            wait = self._pass(course, now)
            rollout = self._md.status.rollout
            if rollout.phase in ("RollingBack", "Stable") or (until and until(rollout)):
                break
            now += max(1, wait)
        course.served, course.spoilt = self._candidate.harm()
        return course

    def _pass(self, course: Course, now: int) -> int:
        at = EPOCH + timedelta(seconds=now)
        md = self._md
        answers = {}
        for key, promql in queries(md, at).items():
            answers[key] = self._answer(key, promql, now, int((instant(md, key, at) - EPOCH).total_seconds()))
        analysis = judge(md, answers, at)
        decision = step(md, self._target, self._observed(now), analysis, at)
        self._follow(course, md.status, decision.status, analysis, now)
        self._md = md.model_copy(update={"status": decision.status})
        if self._keep:
            course.events += [(now - BEGIN, event) for event in decision.events]
            rollout = decision.status.rollout
            course.moments.append(Moment(now - BEGIN, rollout.phase, rollout.weight, rollout))
        return self._wait(decision, at)

    def _wait(self, decision: Decision, at: datetime) -> int:
        """Seconds until something can change: here no event is lost, so nothing is looked at only for safety."""
        due = due_at(self._md, at)
        asked = decision.requeue_after or LOOK_AGAIN
        wait = due - at if due and asked >= min(LOOK_AGAIN, due - at) else asked
        return -(-wait // timedelta(seconds=1))

    def _observed(self, now: int) -> Observed:
        status = self._md.status
        wanted = wanted_pods(status)
        if wanted.get(CANDIDATE) and self._asked_at is None:
            self._asked_at = now
        late = self._asked_at is None or now < self._asked_at + READY_AFTER
        pods = {
            revision: RevisionPods(revision, size, 0 if revision == CANDIDATE and late else size)
            for revision, size in wanted.items()
        }
        serving = status.stable.revision if status.stable else STABLE
        other = status.candidate.revision if status.candidate else serving
        return Observed(
            revisions=pods,
            stable_endpoints={serving: 1},
            candidate_endpoints={other: pods[other].ready} if other in pods else {},
            route_weight=status.rollout.weight,
        )

    def _follow(
        self,
        course: Course,
        before: ModelDeploymentStatus,
        after: ModelDeploymentStatus,
        analysis: Analysis | None,
        now: int,
    ) -> None:
        """Let the route follow what was decided, and note what became of the rollout."""
        promoted = after.stable is not None and after.stable.revision == CANDIDATE
        share = 1.0 if promoted else self._split(after)
        if share != self._share:
            self._share = share
            self._candidate.serve(share, now)
            self._stable.serve(1.0 - share, now)
        rollout, second = after.rollout, now - BEGIN
        if course.first_weight is None and rollout.weight:
            course.first_weight = second
        if rollout.step is not None and rollout.step_started_at and rollout.step not in course.hold_ends:
            hold = self._md.spec.rollout.steps[rollout.step].hold
            course.hold_ends[rollout.step] = second + int(parse_duration(hold).total_seconds())
        old = before.rollout
        if (
            old.phase == "Progressing"
            and old.step is not None
            and (rollout.phase, rollout.step) != (old.phase, old.step)
        ):
            course.step_ended[old.step] = second
        if rollout.phase == "RollingBack":
            course.outcome, course.ended, course.step = "rolled back", second, old.step
            failed = analysis.failed(self._md) if analysis else None
            course.check, course.message = (failed.name, failed.message) if failed else ("", rollout.message)
        elif rollout.phase == "Watching" and course.outcome == "undecided":
            course.outcome, course.ended = "promoted", second

    def _split(self, status: ModelDeploymentStatus) -> float:
        weight, candidate, stable = status.rollout.weight, status.candidate, status.stable
        if not weight or candidate is None or stable is None:
            return 0.0
        if status.rollout.weight >= 100 or self._md.spec.traffic.ingress is not None:
            return weight / 100
        return candidate.replicas / (candidate.replicas + stable.replicas)

    def _answer(self, key: str, promql: str, now: int, at: int) -> Answer:
        """What Prometheus says now to one of the engine's own queries about a time; users' own queries it cannot know."""
        if key in (SCRAPED, SCRAPED_BEFORE):
            back = int(offset[1]) if (offset := _OFFSET.search(promql)) else 0
            return self._scraped(at - back) if self._around.answers[min(now, self._horizon)] else _AWAY
        found = _WINDOW.search(promql)
        if not self._around.answers[min(now, self._horizon)]:
            return _AWAY
        if key.startswith(("query/", "baseline/", "nobody/")) or found is None:
            return Unavailable("a query of your own cannot be simulated")
        if key in ("nonfinite", "runs"):
            return ()  # its models give numbers
        series: list[Series] = []
        for revision, counters in ((STABLE, self._stable), (CANDIDATE, self._candidate)):
            gained = counters.at(at, int(found[1])) if revision in promql else None
            if gained is None:
                continue
            if "durations" in key:
                below = np.cumsum(gained[FIRST_BUCKET:])
                # Empty buckets at both ends say nothing; the last one before the first request is where that begins.
                first = max(0, int(np.argmax(below > 0)) - 1)
                last = int(np.argmax(below >= below[-1])) + 1
                series += [
                    Series({"revision": revision, "le": bound}, value)
                    for bound, value in zip(_BOUNDS[first:last], below[first:last].tolist(), strict=True)
                ]
                series.append(Series({"revision": revision, "le": "+Inf"}, float(below[-1])))
            else:
                series += _by_code(revision, gained)
        return tuple(series)

    def _scraped(self, at: int) -> Answer:
        known = ((STABLE, self._stable.scraped(at)), (CANDIDATE, self._candidate.scraped(at)))
        return tuple(one for revision, counts in known if counts is not None for one in _by_code(revision, counts))


def _by_code(revision: str, counts: Floats) -> list[Series]:
    errors, total = float(counts[ERRORS]), float(counts[TOTAL])
    return [
        Series({"revision": revision, "code": "200"}, max(0.0, total - errors)),
        Series({"revision": revision, "code": "500"}, errors),
    ]


def simulated(md: ModelDeployment) -> ModelDeployment:
    """The spec without what cannot be simulated: the user's own queries."""
    rollout = md.spec.rollout
    known = [check for check in rollout.checks if check.error_rate or check.latency]
    spec = md.spec.model_copy(update={"rollout": rollout.model_copy(update={"checks": known})})
    return md.model_copy(update={"spec": spec})


def play_many(
    md: ModelDeployment,
    service: Service,
    fault: Fault,
    rollouts: int,
    seed: int,
    seconds: int,
    keep: int = 0,
    scrape: int = 15,
    gaps: bool = True,
    unseen: int = 0,
) -> Iterator[Course]:
    """So many rollouts of one spec, each in surroundings of its own; the first `keep` with all their moments.

    Without `gaps` no scrape fails, and Prometheus always answers. It meets the candidate's pods up to `unseen` seconds after
    their first requests.
    """
    for number in range(rollouts):
        random = np.random.default_rng((seed, number))
        around = Surroundings.draw(service, BEGIN + seconds, random, scrape, gaps)
        late = int(random.integers(0, unseen + 1)) if unseen else 0
        yield Play(md, around, fault, random, keep=number < keep, unseen=late).run()
