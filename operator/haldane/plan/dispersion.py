"""Errors and slow answers come in groups: how many times more do their counts vary than independent requests' would?

Pearson's statistic over the intervals between two looks, per degree of freedom (quasi-likelihood: Wedderburn, Biometrika 61,
1974). Everything counted is divided by it before it is tested, so that one burst never proves a rate.

Beside a baseline, what varies is the candidate's part of both revisions' hits: an incident that both suffer says nothing
about how evenly the candidate's own come.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from haldane.plan.evidence import Evidence
from haldane.plan.proportions import Counts

PRIOR_LOOKS = 10.0
"""How many intervals of independent requests the estimate begins with: a few intervals alone say little."""


@dataclass(frozen=True)
class Pool:
    """This step's requests and those of the steps before, together."""

    counts: Counts
    dispersion: float = 1.0
    """Of them all: one of these steps alone may have had another."""

    @property
    def worth(self) -> Counts:
        """The independent requests that they are worth."""
        return self.counts.thinned(self.dispersion)


def seen(
    before: Evidence | None, requests: int, hits: int, baseline_hits: int | None, bound: float = 0.0, kind: int = 0
) -> Evidence:
    """The evidence with one more interval: what came since the look before, out of cumulative counts.

    Counts that fell (Prometheus lost samples) begin a new interval; those of another `bound` or `kind` begin anew.
    """
    together = hits + baseline_hits if baseline_hits is not None else 0
    if before is None or (before.bound, before.kind) != (bound, kind):
        before = Evidence(bound=bound, kind=kind, planned=before.planned if before else 0)
    came = requests - before.requests
    hit, hit_together = hits - before.hits, together - before.hits_together
    after = replace(before, requests=requests, hits=hits, hits_together=together)
    if came <= 0 or hit < 0:
        return after
    after = replace(after, looks=before.looks + 1, squares=before.squares + hit * hit / came)
    intervals = [(before.worst_hits, before.worst_requests), (before.second_hits, before.second_requests), (hit, came)]
    worst, second, _ = sorted(intervals, reverse=True)
    after = replace(
        after, worst_hits=worst[0], worst_requests=worst[1], second_hits=second[0], second_requests=second[1]
    )
    if hit_together <= 0 or baseline_hits is None:
        return after
    return replace(
        after,
        looks_together=before.looks_together + 1,
        squares_together=before.squares_together + hit * hit / hit_together,
    )


def winsorized(counts: Counts, evidence: Evidence) -> Counts:
    """The candidate's counts as if the interval with the most hits had them at the rate of the one with the second most.

    So one burst proves nothing, an even course loses nothing, and what holds for a test of all hits holds for one of fewer.
    `evidence` may have counted hits beyond another bound than `counts` has: that interval is as much worse.
    """
    if not evidence.hits:
        excess = counts.hits * evidence.worst_requests / max(1, evidence.requests)
    else:
        as_second = evidence.worst_requests * evidence.second_hits / max(1, evidence.second_requests)
        excess = max(0.0, evidence.worst_hits - as_second) * counts.hits / evidence.hits
    return replace(counts, hits=max(0.0, counts.hits - excess))


def alone(evidence: Evidence) -> float:
    """Dispersion of the candidate's hits among its requests; at least 1."""
    return _dispersion(evidence.squares, evidence.hits, evidence.requests, evidence.looks)


def beside_baseline(evidence: Evidence) -> float:
    """Dispersion of the candidate's hits among both revisions' hits; at least 1."""
    if evidence.hits_together <= evidence.hits:
        return alone(evidence)
    return _dispersion(evidence.squares_together, evidence.hits, evidence.hits_together, evidence.looks_together)


def with_earlier(counts: Counts, evidence: Evidence) -> Pool | None:
    """This step's counts with those of the steps before; None in the first step."""
    if not evidence.earlier_requests:
        return None
    hits, requests = evidence.hits + evidence.earlier_hits, evidence.requests + evidence.earlier_requests
    looks = evidence.looks + evidence.earlier_looks
    dispersion = _dispersion(evidence.squares + evidence.earlier_squares, hits, requests, looks)
    both = Counts(counts.hits + evidence.earlier_hits, counts.requests + evidence.earlier_requests)
    return Pool(both, dispersion)


def _dispersion(squares: float, hits: int, trials: int, looks: int) -> float:
    share = hits / trials if trials > 0 else 0.0
    if looks < 2 or not 0.0 < share < 1.0:
        return 1.0
    pearson = max(0.0, squares - hits * share) / (share * (1.0 - share))
    return max(1.0, (PRIOR_LOOKS + pearson) / (PRIOR_LOOKS + looks - 1))
