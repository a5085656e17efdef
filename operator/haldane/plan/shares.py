"""Is a share of requests beyond its limit? The question that error rates, proportions and latencies come down to."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from haldane.plan.dispersion import Pool
from haldane.plan.looks import (
    EVERY_LOOK,
    HEALTHY,
    MARGINS,
    PASSED_WRONGLY,
    STRONG_SUSPICION,
    SUSPICION,
    SUSPICION_WITH_EARLIER,
    Look,
    planned_chance,
)
from haldane.plan.proportions import Counts, OneSample, against_baseline, detectable
from haldane.plan.sequential import is_shown_below, is_shown_beyond, upper_limit

COARSE = 3.0
"""The planned look is taken where it could see less than so many times the limit: every look sees more than that anyway."""
LONGEST, PACE = 1000.0, 1.1
"""How far ahead, and how finely, is looked for the requests that a demand takes."""
BASELINE_PART = 0.25
"""Part of the chance of a false alarm that goes into stable's own uncertainty, where it is bounded by itself."""


@dataclass(frozen=True)
class Question:
    """Is the candidate's true share above `limit`, or with a baseline, more than `limit` above the baseline's?

    `recent_*` are those of the last window alone, None while that is everything there is.
    """

    text: str
    """The limit in a sentence after "is beyond"."""
    short: str
    """The limit for a table."""
    limit: float
    candidate: Counts
    baseline: Counts | None = None
    recent_candidate: Counts | None = None
    recent_baseline: Counts | None = None
    dispersion: float = 1.0
    winsorized: Counts | None = None
    """The candidate's counts with its worst interval no worse than the next; None for them all: one burst proves no rate."""

    with_earlier: Pool | None = None
    """The requests of this step and the steps before; None where there are none to add."""

    @property
    def is_above(self) -> bool:
        """Whether the observed share is above what is allowed, proof or not."""
        return self.candidate.share > self.limit + (self.baseline.share if self.baseline else 0.0)

    def as_one_sample(self) -> OneSample:
        """The counts of the whole step as one sample of independent requests."""
        return _one_sample(self.candidate, self.baseline, self.limit, self.dispersion)

    def is_shown(self, look: Look, planned_part: float) -> bool:
        """Whether it is shown by any of the tests that this look may make (see `looks`)."""
        if self.is_above:
            if self._shown_at_any_look():
                return True
            planned = (
                planned_part * self._planned_chance(look) if planned_part and self.would_see(COARSE, look) else 0.0
            )
            if planned and self.as_one_sample().p_value < planned:
                return True
        if self.recent_candidate is None or self.recent_candidate.share <= self.limit:
            return False
        recent = _one_sample(self.recent_candidate, self.recent_baseline, self.limit, self.dispersion)
        return recent.p_value < look.sudden_level

    def detectable(self, look: Look) -> float:
        """The smallest true share of the candidate that the planned look would show in 4 of 5 cases."""
        one = self.as_one_sample()
        return detectable(one.counts.requests, one.limit, self._planned_chance(look))

    def would_see(self, times: float, look: Look) -> bool:
        """Whether so many times the limit is detectable."""
        return self.detectable(look) <= times * self.as_one_sample().limit

    def longer_to_see(self, times: float, look: Look) -> float | None:
        """How many times as many requests, of both sides, would see so many times the limit; None beyond `LONGEST` times."""
        one, factor = self.as_one_sample(), 1.0
        while factor <= LONGEST:
            requests = one.counts.requests * factor
            chance = planned_chance(requests, one.limit, *self._earlier(look, factor))
            if detectable(requests, one.limit, chance) <= times * one.limit:
                return factor
            factor *= PACE
        return None

    def is_suspicious(self, look: Look, enough: float = 1.0) -> bool:
        """Whether the end of the hold should not pass it yet, for hits that have less than the chance of `enough` at its limit."""
        if not look.planned or not self.is_above:
            return False
        is_small = not look.is_last and not self.would_see(COARSE, look)
        return self.as_one_sample().p_value < min(enough, STRONG_SUSPICION if is_small else SUSPICION)

    def is_suspicious_with_earlier(self, look: Look, enough: float = 1.0) -> bool:
        """Whether the end of the last hold should not pass it yet, for what the steps before have seen of it as well."""
        both = self.with_earlier
        if not look.planned or not look.is_last or both is None or both.counts.share <= self.limit:
            return False
        return OneSample(both.worth, self.limit).p_value < min(enough, SUSPICION_WITH_EARLIER)

    def is_clear(self, look: Look) -> bool | None:
        """Whether the end of the last hold has shown it to be clear of an absolute limit; None where that is not asked.

        Two one-sided tests share an indifference region between them, the limit and so many times the limit (Sobel and Wald,
        Annals of Mathematical Statistics 20, 1949): beyond the one a version is rolled back, below the other it passes, and
        more requests always end it. Each is a mixture SPRT, so that looking again costs nothing.
        """
        if not look.planned or not look.is_last or self.baseline is not None:
            return None
        both = self._pool
        # What came after the hold is taken off before it is thinned: this step alone may vary more, or less, than all do.
        gathered = both.counts.requests - (1.0 - look.held) * self.candidate.requests
        margin = _margin(gathered / both.dispersion, self.limit)
        return None if margin is None else is_shown_below(both.worth, margin * self.limit, PASSED_WRONGLY)

    def is_surely_clear(self, look: Look) -> bool:
        """The same by the strictest of the proofs, whatever the holds gathered."""
        if not look.planned or not look.is_last or self.baseline is not None:
            return False
        return is_shown_below(self._pool.worth, min(MARGINS) * self.limit, PASSED_WRONGLY)

    @property
    def _pool(self) -> Pool:
        return self.with_earlier or Pool(self.candidate, self.dispersion)

    def _planned_chance(self, look: Look) -> float:
        one = self.as_one_sample()
        return planned_chance(one.counts.requests, one.limit, *self._earlier(look))

    def _earlier(self, look: Look, factor: float = 1.0) -> tuple[bool, float]:
        is_rise = self.baseline is not None
        return is_rise, (look.earlier_beside if is_rise else look.earlier) / factor

    def _shown_at_any_look(self) -> bool:
        candidate = (self.winsorized or self.candidate).thinned(self.dispersion)
        if self.baseline is None:
            return is_shown_beyond(candidate, self.limit, EVERY_LOOK)
        # Two bounds that hold at every look, one for each side, and the chances of their errors add up.
        highest = upper_limit(self.baseline.thinned(self.dispersion), EVERY_LOOK * BASELINE_PART)
        return is_shown_beyond(candidate, highest + self.limit, EVERY_LOOK * (1.0 - BASELINE_PART))


def _margin(requests: float, limit: float) -> float | None:
    """The first of `MARGINS` that so many requests show a healthy version to be below; None where they show none of them."""
    healthy = Counts(HEALTHY * limit * requests, requests)
    return next((times for times in MARGINS if is_shown_below(healthy, times * limit, PASSED_WRONGLY)), None)


@lru_cache(maxsize=128)
def _one_sample(candidate: Counts, baseline: Counts | None, limit: float, dispersion: float) -> OneSample:
    candidate = candidate.thinned(dispersion)
    if baseline is None or not candidate.requests or not baseline.requests:
        return OneSample(candidate, limit)
    return against_baseline(candidate, baseline.thinned(dispersion), limit)
