"""One check against its limits: the rules, each as a pure function of counts.

A limit on a rate or a quantile is a claim about the true value, so it fails only when the data show it to be crossed
(`proportions`); a free query has no counts to test, so it is compared, and fails for good after several in a row.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from haldane.api.quantity import parse_duration, parse_percent
from haldane.api.rollout import ErrorRate, Latency, Query
from haldane.api.status import Verdict
from haldane.plan.histogram import Histogram
from haldane.plan.observed import Answer, Unavailable
from haldane.plan.proportions import beyond, risen
from haldane.plan.samples import Requests


@dataclass(frozen=True)
class Judged:
    """A verdict with what it rests on, as text for status."""

    verdict: Verdict
    message: str
    value: str | None = None
    baseline: str | None = None
    limit: str | None = None
    requests: int | None = None
    aborts: bool = False
    """Whether it is the hard limit that was crossed."""


def percent(fraction: float) -> str:
    """A fraction as a short percentage: 0.0123 -> `1.23%`."""
    return f"{fraction * 100:.3g}%"


def seconds(value: float) -> str:
    """A duration in seconds as people read it: 0.0123 -> `12.3ms`."""
    return f"{value * 1000:.3g}ms" if value < 1 else f"{value:.3g}s"


def too_few(requests: int, minimum: int) -> Judged:
    """The verdict below `minRequests`."""
    if requests == 0:
        return Judged("Inconclusive", f"no requests reached the candidate; {minimum} are needed", requests=0)
    return Judged("Inconclusive", f"{requests} requests so far; {minimum} are needed", requests=requests)


def judge_abort(check: ErrorRate, recent: Requests) -> Judged | None:
    """The hard limit: a Fail on the requests of this weight, warm-up and all, however few they are; None otherwise."""
    if not check.abort or not beyond(recent.errors, recent.total, parse_percent(check.abort)):
        return None
    value = percent(recent.errors / recent.total)
    message = f"error rate {value} of {recent.total} requests is beyond the abort limit {check.abort}"
    return Judged("Fail", message, value, limit=check.abort, requests=recent.total, aborts=True)


def judge_error_rate(check: ErrorRate, counted: Requests, baseline: Requests | None, minimum: int) -> Judged:
    """Judge the share of 5xx answers. `baseline` is stable's, None when stable gets no traffic to compare with."""
    if counted.total < minimum:
        return too_few(counted.total, minimum)
    value = percent(counted.errors / counted.total)
    base = percent(baseline.errors / baseline.total) if baseline and baseline.total else None
    if check.max and beyond(counted.errors, counted.total, parse_percent(check.max)):
        message = f"error rate {value} of {counted.total} requests is beyond the limit {check.max}"
        return Judged("Fail", message, value, base, check.max, counted.total)
    if check.max_increase and baseline is not None:
        if baseline.total < minimum:
            return Judged(
                "Inconclusive",
                f"stable answered {baseline.total} requests in the window; {minimum} are needed to compare",
                value,
                base,
                requests=counted.total,
            )
        if risen(counted.errors, counted.total, baseline.errors, baseline.total, parse_percent(check.max_increase)):
            message = f"error rate {value} of {counted.total} requests is more than {check.max_increase} above stable's {base}"
            return Judged("Fail", message, value, base, f"{base}+{check.max_increase}", counted.total)
    limit = check.max or (f"{base}+{check.max_increase}" if base and check.max_increase else check.abort)
    return Judged(
        "Pass",
        f"error rate {value} of {counted.total} requests is not shown to be beyond {limit}",
        value,
        base,
        limit,
        counted.total,
    )


def judge_latency(
    check: Latency, subject: Histogram | None, baseline: Histogram | None, compare: bool, minimum: int
) -> Judged:
    """Judge a quantile: it is beyond a limit when more than 1 - q of the requests are shown to take longer than it."""
    total = round(subject.total) if subject else 0
    if subject is None or total < minimum:
        return too_few(total, minimum)
    q = float(check.quantile)
    name = f"p{q * 100:g}"
    value, base = subject.quantile(q), None
    limits = {}
    if check.max:
        limits[check.max] = parse_duration(check.max).total_seconds()
    if check.max_increase and compare:
        if baseline is None or baseline.total < minimum:
            seen = round(baseline.total) if baseline else 0
            return Judged(
                "Inconclusive",
                f"stable answered {seen} requests in the window; {minimum} are needed to compare",
                seconds(value),
                requests=total,
            )
        base = baseline.quantile(q)
        limits[f"{seconds(base)}+{check.max_increase}"] = base * (1 + parse_percent(check.max_increase))
    shown_base = seconds(base) if base is not None else None
    for text, limit in sorted(limits.items(), key=lambda item: item[1]):
        above = round(subject.above(limit))
        if beyond(above, total, 1 - q):
            message = f"{name} {seconds(value)} is beyond the limit {text}: {above} of {total} requests took longer"
            return Judged("Fail", message, seconds(value), shown_base, text, total)
    tightest = min(limits, key=lambda text: limits[text], default=None)
    message = f"{name} {seconds(value)} of {total} requests is not shown to be beyond {tightest or 'its limit'}"
    return Judged("Pass", message, seconds(value), shown_base, tightest, total)


def judge_query(check: Query, answer: Answer, baseline: Answer | None, requests: int, minimum: int) -> Judged:
    """Judge a free query: one number against plain limits. `baseline` is the same query for stable."""
    value, problem = _one_number(answer)
    if value is None:
        return Judged("Inconclusive", f"the query gave {problem}", requests=requests)
    if requests < minimum:
        few = too_few(requests, minimum)
        return Judged("Inconclusive", few.message, f"{value:.6g}", requests=requests)
    highest = [float(check.max)] if check.max else []
    base = None
    if check.max_increase and baseline is not None:
        base, problem = _one_number(baseline)
        if base is None:
            return Judged("Inconclusive", f"the query for stable gave {problem}", f"{value:.6g}", requests=requests)
        highest.append(base + abs(base) * parse_percent(check.max_increase))
    shown_base = f"{base:.6g}" if base is not None else None
    if highest and value > min(highest):
        limit = f"{min(highest):.6g}"
        return Judged("Fail", f"{value:.6g} is above the limit {limit}", f"{value:.6g}", shown_base, limit, requests)
    if check.min and value < float(check.min):
        return Judged(
            "Fail", f"{value:.6g} is below the limit {check.min}", f"{value:.6g}", shown_base, check.min, requests
        )
    shown_limit = f"{min(highest):.6g}" if highest else check.min
    return Judged(
        "Pass", f"{value:.6g} is within the limit {shown_limit}", f"{value:.6g}", shown_base, shown_limit, requests
    )


def _one_number(answer: Answer) -> tuple[float | None, str]:
    if isinstance(answer, Unavailable):
        return None, f"no answer: {answer.reason}"
    if not answer:
        return None, "no data: it matched no series"
    if len(answer) > 1:
        return None, f"{len(answer)} series: aggregate them to one, for example with sum()"
    if not math.isfinite(answer[0].value):
        return None, f"{answer[0].value}: it divides by nothing, or has no samples"
    return answer[0].value, ""
