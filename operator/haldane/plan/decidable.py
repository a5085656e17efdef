"""Can the checks of a spec be decided at all, by the requests that its steps get? Sentences, for people, before it is tried."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from datetime import timedelta

from haldane.api.quantity import parse_duration, parse_percent
from haldane.api.rollout import Step
from haldane.api.v1alpha1 import ModelDeployment
from haldane.plan.capacity import share_at
from haldane.plan.looks import before, planned_chance
from haldane.plan.proportions import Counts, against_baseline, detectable
from haldane.plan.queries import BOUNDS, METRICS
from haldane.plan.shares import LONGEST, PACE
from haldane.plan.strategy import chosen

SLIGHTLY = 1.25
"""A step that lasts less than so many times its hold is not worth a word."""

DISASTER = 3.0
"""A check that sees less than so many times its limit nowhere is worth a warning."""

_OWN_METRIC = re.compile(r"\bhaldane_[a-z0-9_]+")


def counted_requests(md: ModelDeployment, step: Step, rate: float) -> float:
    """Candidate requests that count by the end of a step's hold, at so many requests a second to the service."""
    counted = parse_duration(step.hold) - parse_duration(md.spec.rollout.analysis.warmup)
    return max(0.0, counted.total_seconds()) * rate * share_at(md, step.weight)


def visible(md: ModelDeployment, step: Step, rate: float, limit: str, base: float, rises: bool) -> float:
    """The smallest true share that the look at the end of a step's hold would show, beside a stable share of `base`.

    `limit` is of the check: a rise over stable when `rises`, else absolute.
    """
    held = parse_duration(step.hold) - parse_duration(md.spec.rollout.analysis.warmup)
    return _seen_after(md, step, rate, held, Limit("", "", parse_percent(limit), base, rises))


@dataclass(frozen=True)
class Limit:
    """A limit of a check on a share of the requests."""

    check: str
    what: str
    """Which requests count against it, in words."""
    allowed: float
    base: float = 0.0
    """Stable's own share, where that is known."""
    rises: bool = False
    """Whether `allowed` is how far it may be above stable's."""

    @property
    def highest(self) -> float:
        """The highest share that is allowed."""
        return self.allowed + (self.base if self.rises else 0.0)


def _limits(md: ModelDeployment, base: float) -> list[Limit]:
    """The limits on shares of requests whose number is known; stable's share of a proportion is not, and taken for 0 at best."""
    found = []
    for check in md.spec.rollout.checks:
        if rule := check.error_rate:
            found += _both(check.name, "failing", rule.max, rule.max_increase, base)
        if slow := check.latency:
            beyond = 1.0 - float(slow.quantile)
            if slow.max:
                found.append(Limit(check.name, f"taking longer than {slow.max}", beyond))
            if slow.max_increase:
                what = f"taking longer than stable's p{100 * float(slow.quantile):g} and {slow.max_increase}"
                found.append(Limit(check.name, what, 0.0, beyond, rises=True))
        if check.proportion and not check.proportion.total:
            found += _both(check.name, "being hits", check.proportion.max, check.proportion.max_increase, 0.0)
    return found


def _both(check: str, what: str, highest: str | None, rise: str | None, base: float) -> list[Limit]:
    found = [Limit(check, what, parse_percent(rise), base, rises=True)] if rise else []
    return [*found, Limit(check, what, parse_percent(highest))] if highest else found


def _seen_after(md: ModelDeployment, step: Step, rate: float, counted: timedelta, limit: Limit) -> float:
    """The smallest true share that a planned look shows once requests have been counted for so long."""
    share = share_at(md, step.weight)
    requests = max(0.0, counted.total_seconds()) * rate * share
    alone, beside = before(md, md.spec.rollout.steps.index(step), counted)
    if requests < 1.0:
        return 1.0
    allowed = limit.allowed
    if not limit.rises or share >= 1.0:
        return detectable(requests, allowed, planned_chance(requests, allowed, False, alone))
    stable = requests * (1.0 - share) / share
    one = against_baseline(Counts(limit.highest * requests, requests), Counts(limit.base * stable, stable), allowed)
    chance = planned_chance(one.counts.requests, one.limit, True, beside)
    return detectable(one.counts.requests, one.limit, chance)


def concerns(md: ModelDeployment, rate: float | None = None, base: float = 0.01) -> list[str]:
    """What a user should know of the spec, each as a sentence; `rate` is the service's requests a second, when known.

    `base` is stable's error rate as a fraction.
    """
    rollout = md.spec.rollout
    found = []
    if not rollout.checks:
        found.append("there are no checks: time alone promotes")
    if chosen(md) != "Canary":
        found += _unjudged(md)
    warmup = parse_duration(rollout.analysis.warmup)
    for number, step in enumerate(rollout.steps, 1):
        if rollout.checks and timedelta(0) < parse_duration(step.hold) <= warmup:
            found.append(
                f"step {number} ({step.weight}%): its hold of {step.hold} is over before the warm-up of"
                f" {rollout.analysis.warmup} is: nothing counts until then"
            )
        elif rate is not None and rollout.checks and step.weight > 0:
            found += _too_few(md, number, step, rate)
    if rate is not None and chosen(md) == "Canary":
        found += _blind(md, rate, base)
        found += demands(md, rate, base)
    for check in rollout.checks:
        if check.latency and check.latency.max:
            found += _between_bounds(check.name, check.latency.max)
        found += never_reached(md, check.name)
        found += unknown_metrics(md, check.name)
    return found


def unknown_metrics(md: ModelDeployment, name: str) -> list[str]:
    """Which metrics of the runtime a check's own query names that the runtime does not have, as sentences."""
    check = next((check for check in md.spec.rollout.checks if check.name == name), None)
    texts = [check.query.promql] if check and check.query else []
    if check and check.proportion:
        texts += [check.proportion.hits, check.proportion.total or ""]
    unknown = sorted({metric for text in texts for metric in _OWN_METRIC.findall(text)} - METRICS)
    return [f"check {name}: the runtime has no metric {metric}" for metric in unknown]


def never_reached(md: ModelDeployment, name: str) -> list[str]:
    """Why a check's limit on the latency lies where it can fail nothing, as a sentence."""
    check = next((check for check in md.spec.rollout.checks if check.name == name), None)
    limit = check and check.latency and check.latency.max
    if not limit:
        return []
    seconds, timeout = parse_duration(limit).total_seconds(), md.spec.runtime.limits.request_timeout
    if seconds >= parse_duration(timeout).total_seconds():
        return [
            f"check {name}: only requests that are answered 504 take as long as {limit}, as spec.runtime.limits.requestTimeout is"
            f" {timeout}: write a max below it"
        ]
    if seconds > BOUNDS[-1]:
        return [
            f"check {name}: {limit} lies beyond the last bound of the runtime's histogram: nothing tells how many requests take"
            f" longer; write a max of at most {BOUNDS[-1]:g}s"
        ]
    return []


def hopeless_steps(md: ModelDeployment, rate: float) -> list[str]:
    """Steps that cannot get `minRequests` before their deadline, at so many requests a second to the service."""
    rollout = md.spec.rollout
    found = []
    for number, step in enumerate(rollout.steps, 1):
        arriving = rate * share_at(md, step.weight)
        held = parse_duration(step.hold) + parse_duration(rollout.progress_deadline)
        counted = (held - parse_duration(rollout.analysis.warmup)).total_seconds()
        if step.weight and arriving * counted < rollout.analysis.min_requests:
            found.append(
                f"step {number} ({step.weight}%): of the {rate:.2g} requests/s that come, about {max(0.0, arriving * counted):.0f}"
                f" count before its deadline, and {rollout.analysis.min_requests} are needed: raise its weight or its hold, send"
                " more requests, or lower spec.rollout.analysis.minRequests"
            )
    return found


def _too_few(md: ModelDeployment, number: int, step: Step, rate: float) -> list[str]:
    minimum, requests = md.spec.rollout.analysis.min_requests, counted_requests(md, step, rate)
    if requests >= minimum:
        return []
    arriving = rate * share_at(md, step.weight)
    hold = parse_duration(step.hold).total_seconds()
    needed = parse_duration(md.spec.rollout.analysis.warmup).total_seconds() + minimum / max(arriving, 1e-9)
    if needed <= SLIGHTLY * hold:
        return []
    limit = hold + parse_duration(md.spec.rollout.progress_deadline).total_seconds()
    much = f"step {number} ({step.weight}% for {step.hold}): about {requests:.0f} requests count by the end of its hold, {minimum} are needed"
    if needed > limit:
        return [
            f"{much}; they will not come before its deadline: hold it longer, raise the weight, or lower minRequests"
        ]
    return [f"{much}; it will take about {needed / 60:.0f} min"]


def _unjudged(md: ModelDeployment) -> list[str]:
    """Checks that a switch in one go judges late: beside the new version nothing answers that it could be compared with."""
    return [
        f"check {check.name}: {chosen(md)} has no share of the requests to compare: its maxIncrease is judged only after the"
        " switch, roughly, with what stable had before; write max too"
        for check in md.spec.rollout.checks
        for rule in (check.error_rate, check.latency, check.proportion, check.query)
        if rule and rule.max_increase and not rule.max
    ]


def _blind(md: ModelDeployment, rate: float, base: float) -> list[str]:
    found = []
    for check in md.spec.rollout.checks:
        highest = check.error_rate and check.error_rate.max
        if highest and base >= parse_percent(highest):
            found.append(
                f"check {check.name}: stable itself has {base:.3g} of its requests failing, and max allows {highest}:"
                " a good version may be rolled back; compare with stable by maxIncrease, or raise max"
            )
        # A rise is the finer limit of the two, where there are both.
        limits = [limit for limit in _limits(md, base) if limit.check == check.name]
        limit = next((limit for limit in limits if limit.rises), limits[0] if limits else None)
        if limit is None:
            continue
        warmup = parse_duration(md.spec.rollout.analysis.warmup)
        held = [(step, parse_duration(step.hold) - warmup) for step in md.spec.rollout.steps]
        best = min(_seen_after(md, step, rate, counted, limit) for step, counted in held)
        if best > DISASTER * max(limit.highest, 1e-6):
            found.append(
                f"check {check.name}: at {rate:g} requests/s no step sees less than {best:.2g} of the requests {limit.what},"
                f" {best / limit.highest:.0f} times what is allowed: hold the steps longer, or raise their weights"
            )
    return found


def demands(md: ModelDeployment, rate: float, base: float, too_late_only: bool = False) -> list[str]:
    """How long each step lasts for `analysis.detect`, at so many requests a second to the service; `base` as in `concerns`.

    Of each step the check that takes longest; with `too_late_only` no steps that see it before their deadline.
    """
    rollout, demanded = md.spec.rollout, md.spec.rollout.analysis.detect
    if not demanded or chosen(md) != "Canary":
        return []
    found = []
    for number, step in enumerate(rollout.steps, 1):
        hold = parse_duration(step.hold)
        ends = hold + parse_duration(rollout.progress_deadline)
        waits = [(_takes(md, step, rate, float(demanded[:-1]), limit), limit.check) for limit in _limits(md, base)]
        if not step.weight or not waits:
            continue
        needed, check = max(waits)
        which = f"step {number} ({step.weight}% for {step.hold}): check {check} sees analysis.detect {demanded}"
        minutes = (
            f"about {math.ceil(needed / timedelta(minutes=1))} min" if needed < timedelta.max else "1000 times its hold"
        )
        if needed > ends:
            found.append(
                f"{which} only after {minutes}, and its deadline comes after {math.ceil(ends / timedelta(minutes=1))} min: it ends"
                " then with less proof; raise its weight or its hold, or demand less"
            )
        elif needed > SLIGHTLY * hold and not too_late_only:
            found.append(f"{which} after {minutes}; it lasts as long")
    return found


def _takes(md: ModelDeployment, step: Step, rate: float, times: float, limit: Limit) -> timedelta:
    """How long the step lasts until so many times the limit is seen; `timedelta.max` when that takes more than 1000 holds."""
    warmup, hold = parse_duration(md.spec.rollout.analysis.warmup), parse_duration(step.hold)
    counted = longest = max(hold - warmup, timedelta(seconds=1))
    while counted <= LONGEST * longest:
        if _seen_after(md, step, rate, counted, limit) <= times * limit.highest:
            return warmup + counted
        counted *= PACE
    return timedelta.max


def _between_bounds(name: str, limit: str) -> list[str]:
    seconds = parse_duration(limit).total_seconds()
    if seconds in BOUNDS or seconds > BOUNDS[-1]:
        return []
    lower = max((bound for bound in BOUNDS if bound < seconds), default=0.0)
    upper = min(bound for bound in BOUNDS if bound > seconds)
    return [
        f"check {name}: {limit} lies between the runtime's histogram bounds {lower * 1000:g}ms and {upper * 1000:g}ms:"
        " how many requests take longer is estimated; a limit at a bound is counted exactly"
    ]
