"""What must hold of a record at every moment. Pure; each law gives its breaches as sentences."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from itertools import groupby, pairwise
from typing import Final, Literal

from e2e.soak.record import Failure, Pod, Record, Selection, Span, Weight, total
from haldane.api.quantity import parse_duration
from haldane.api.status import Phase
from haldane.api.v1alpha1 import ModelDeployment
from haldane.plan.deadlines import deadline
from haldane.plan.rejection import standing_rejection, without_old_tokens

REACTION: Final = 4.0
"""Seconds that a working operator may need to take a share away from pods that are gone, on a busy machine."""
PROXIES: Final = 3.0
"""Seconds until every proxy follows the route."""
NOTICED: Final = 15.0
"""Seconds until the kubelet takes a pod that does not answer for unready, and a request to it for lost."""
EXCERPT: Final = 90
OVERRUN: Final = 20.0
"""Seconds that a phase may last beyond its deadline: the operator looks every 10 s at least, and this record is late as well."""


Cause = Literal["write", "ended", "unready"]
"""Why a share leads nowhere: the route or a Service was written so; its pods ended; its pods are there and answer no probe."""


@dataclass(frozen=True)
class Bare:
    """A time in which a share of the requests led to a revision without a ready pod."""

    span: Span
    share: int
    of_candidate: bool
    cause: Cause
    others: bool
    """Whether another revision had ready pods then."""


@dataclass(frozen=True)
class Faults:
    """When the operator worked and reached the API server, and when Prometheus was away."""

    working: Sequence[Span]
    unmeasured: Sequence[Span] = ()


def bare(record: Record, name: str) -> list[Bare]:
    """The times in which a share led nowhere. `name` is the stable Service's."""
    scene, found, at = _Scene(name), list[Bare](), 0.0
    began: Bare | None = None
    for seen in record.in_order():
        at = max(at, seen.at)
        if isinstance(seen.fact, ModelDeployment):
            continue
        now = scene.take(at, seen.fact)
        if now and began is None:
            began = now
        elif began and not now:
            found.append(replace(began, span=Span(began.span.begin, at)))
            began = None
        elif began and now and now.others and not began.others:
            began = replace(began, others=True)
    return found if began is None else [*found, replace(began, span=Span(began.span.begin, at))]


class _Scene:
    """Where requests lead, event by event."""

    def __init__(self, name: str) -> None:
        self._services = name, f"{name}-candidate"
        self._weight = 0
        self._selected: dict[str, str | None] = {}
        self._pods: dict[str, Pod] = {}
        self._lost_at: dict[str, float] = {}

    def take(self, at: float, fact: Pod | Selection | Weight) -> Bare | None:
        """What is bare after this event; None when nothing is."""
        if isinstance(fact, Weight):
            self._weight = fact.weight
        elif isinstance(fact, Selection):
            self._selected[fact.service] = fact.revision
        else:
            before = self._pods.get(fact.uid)
            self._pods[fact.uid] = fact
            if before and before.ready and not fact.ready:
                self._lost_at[fact.revision] = at
        ready = {pod.revision for pod in self._pods.values() if pod.ready}
        stable, candidate = (self._selected.get(service) for service in self._services)
        for aim, share in ((candidate, self._weight), (stable, 100 - self._weight)):
            # Before its Service was seen nothing is known.
            if share > 0 and aim is not None and aim not in ready:
                return Bare(Span(at, at), share, aim != stable, self._cause(at, aim, fact), bool(ready))
        return None

    def _cause(self, at: float, aim: str, fact: Pod | Selection | Weight) -> Cause:
        # Nobody can know at once of a pod that has just gone.
        if not isinstance(fact, Pod) and at - self._lost_at.get(aim, -REACTION) >= REACTION:
            return "write"
        there = any(pod.revision == aim and not pod.ending for pod in self._pods.values())
        return "unready" if there else "ended"


def recreating(record: Record) -> list[Span]:
    """The times in which nobody promises an answer: from the end of the old pods until those there are to be are all ready."""
    spans: list[Span] = []
    begin: float | None = None
    for at, md in record.states():
        rollout, stable = md.status.rollout, md.status.stable
        if rollout.strategy == "Recreate" and begin is None and rollout.phase == "Preparing":
            begin = at
        full = bool(stable and stable.ready_replicas >= max(1, stable.replicas))
        if begin is not None and full and rollout.phase in ("Watching", "Stable"):
            spans.append(Span(begin, at))
            begin = None
    if begin is not None:
        spans.append(Span(begin, float("inf")))
    return spans


def excused(record: Record, name: str) -> list[Span]:
    """When requests may be lost, until the proxies know: behind pods that were deleted by hand or that answer no probe, and while a Recreate runs."""
    spans = [Span(span.begin - 1, span.end + PROXIES) for span in recreating(record)]
    for each in bare(record, name):
        by_hand = any(one.begin <= each.span.begin <= one.end + REACTION for one in record.deleted)
        if each.cause == "unready":
            spans.append(Span(each.span.begin - NOTICED, each.span.end + PROXIES))
        elif each.cause == "ended" and by_hand:
            spans.append(Span(each.span.begin - 1, each.span.end + PROXIES))
    return spans


def lost(record: Record, name: str, own: Collection[str]) -> tuple[list[str], int]:
    """Requests that failed and that stable would have answered, as sentences; and how many were excused.

    `own` are versions that are meant to fail: what they answer is theirs.
    """
    spans, blamed, forgiven = excused(record, name), list[Failure](), 0
    for failure in sorted(record.failures, key=lambda failure: failure.at):
        if failure.version in own:
            continue
        if any(span.begin <= failure.at <= span.end for span in spans):
            forgiven += 1
        else:
            blamed.append(failure)
    breaches = []
    for (version, why), group in groupby(blamed, key=lambda failure: (failure.version, failure.why[:EXCERPT])):
        failures = list(group)
        when = f"{failures[0].at:.1f} s" + (f" to {failures[-1].at:.1f} s" if len(failures) > 1 else "")
        breaches.append(f"{record.name}: {len(failures)} lost at {when}, answered by {version}: {why}")
    return breaches, forgiven


def shares_with_pods(record: Record, name: str, faults: Faults) -> list[str]:
    """No write points a share at a revision without ready pods, and one whose pods end is taken away at once."""
    calm = recreating(record)
    breaches = []
    for each in bare(record, name):
        if not each.others or any(span.within(each.span.begin - 1, each.span.end + 1) for span in calm):
            continue
        where = f"{record.name}: {each.share}% of the requests led to no ready pod from {each.span.begin:.1f} s"
        if each.cause == "write":
            breaches.append(f"{where}, by a write of the operator")
        working = total(faults.working, each.span.begin, each.span.end)
        # What stable's own pods do not answer is not given to a candidate instead.
        if working > REACTION and (each.of_candidate or each.cause != "unready"):
            breaches.append(f"{where} to {each.span.end:.1f} s, {working:.1f} s of it beside a working operator")
    return breaches


def weights_in_bounds(record: Record) -> list[str]:
    """A weight is between 0 and 100, so that stable has the rest."""
    facts = [(seen.at, seen.fact) for seen in record.in_order()]
    found = [(at, fact.weight) for at, fact in facts if isinstance(fact, Weight)]
    found += [(at, fact.status.rollout.weight) for at, fact in facts if isinstance(fact, ModelDeployment)]
    return [f"{record.name}: weight {weight} at {at:.1f} s" for at, weight in found if not 0 <= weight <= 100]


def rejected_stay_away(record: Record) -> list[str]:
    """A revision that was rejected is tried again only with a new value of the retry annotation, as the operator reads it, and never serves at rest.

    Unless what served before it could not be brought back.
    """
    breaches = []
    states = record.states()
    for (_, before), (at, now) in pairwise(states):
        known = without_old_tokens(before).status
        began, old = now.status.candidate, before.status.candidate
        begins = now.status.rollout.phase == "Preparing" and before.status.rollout.phase != "Preparing"
        is_new = began and begins and (old is None or old.revision != began.revision)
        if began and is_new and standing_rejection(now, known, began.revision):
            breaches.append(f"{record.name}: {began.version} was rejected and began again at {at:.1f} s")
        stable, rejected = now.status.stable, {entry.revision for entry in now.status.rejected}
        goes_on = {entry.revision for entry in now.status.history if "could not be brought back" in entry.message}
        at_rest = now.status.rollout.phase == "Stable"
        if at_rest and stable and stable.revision in rejected - goes_on:
            breaches.append(f"{record.name}: {stable.version} is rejected and serves at rest at {at:.1f} s")
    return breaches


def phases_end(record: Record, faults: Faults) -> list[str]:
    """No phase lasts longer than its deadline allows, but for the time in which nobody could act, or measure what it waits for."""
    breaches = []

    def stint(state: tuple[float, ModelDeployment]) -> tuple[Phase, object, int | None]:
        rollout = state[1].status.rollout
        return rollout.phase, rollout.phase_started_at, rollout.step

    states = record.states()
    ends = [at for at, _ in states[1:]]
    for (phase, _, _), group in groupby(zip(states, ends, strict=False), key=lambda pair: stint(pair[0])):
        pairs = list(group)
        mds = [md for (_, md), _ in pairs]
        begin, end = pairs[0][0][0], pairs[-1][1]
        if phase in ("Stable", "Initializing") or any(_waits_for_a_person(md) for md in mds):
            continue
        limits = [_limit(md) for md in mds]
        lasted = end - begin - _idle(faults.working, begin, end) - total(faults.unmeasured, begin, end)
        if lasted > max(limits) + OVERRUN:
            breaches.append(
                f"{record.name}: {phase} from {begin:.1f} s lasted {lasted:.0f} s, not {max(limits):.0f} s; {mds[-1].status.rollout.message}"
            )
    return breaches


def _idle(working: Sequence[Span], begin: float, end: float) -> float:
    return end - begin - total(working, begin, end)


def _limit(md: ModelDeployment) -> float:
    """Seconds that the phase may last."""
    rollout = md.status.rollout
    until = deadline(md)
    if until is None or rollout.phase_started_at is None:
        spec = md.spec.rollout
        watch = max(parse_duration(spec.keep_stable_for), parse_duration(spec.watch_after_promotion))
        return watch.total_seconds()
    return (until - rollout.phase_started_at).total_seconds()


def _waits_for_a_person(md: ModelDeployment) -> bool:
    return any(each.type == "Suspended" and each.status == "True" for each in md.status.conditions)
