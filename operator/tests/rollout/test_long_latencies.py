"""Nobody counts how much longer than the histogram's last bound a request took: a limit there is neither kept nor crossed unseen."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from haldane.api.rollout import Latency
from haldane.plan.histogram import Histogram
from haldane.plan.latency import judge_latency
from haldane.plan.looks import Look
from haldane.plan.verdicts import Trial

FIRST = Trial(Look(1), None, 100)


def histogram(within: int, beyond_10: int, beyond_30: int = 0) -> Histogram:
    total = within + beyond_10 + beyond_30
    return Histogram((5.0, 10.0, 30.0, math.inf), (within, within, within + beyond_10, total))


@pytest.mark.parametrize(
    ("check", "candidate", "stable", "verdict", "words"),
    [
        (Latency(max="45s"), histogram(1000, 0), None, "Pass", ""),
        (Latency(max="45s"), histogram(900, 100), None, "Pass", ""),
        (Latency(max="45s"), histogram(900, 0, 100), None, "Inconclusive", "100 took longer than 30s"),
        (Latency(max="30s"), histogram(900, 0, 100), None, "Fail", "beyond the limit 30s: 100 took longer"),
        (Latency(max_increase="10%"), histogram(900, 0, 100), histogram(900, 0, 100), "Inconclusive", "at most 30s"),
        (Latency(max_increase="10%"), histogram(900, 100), histogram(900, 0, 100), "Pass", ""),
        (Latency(max="10s", max_increase="10%"), histogram(900, 0, 100), histogram(900, 0, 100), "Fail", "limit 10s"),
        (Latency(max="10s", max_increase="10%"), histogram(1000, 0), histogram(900, 0, 100), "Pass", ""),
    ],
)
def test_verdicts(check: Latency, candidate: Histogram, stable: Histogram | None, verdict: str, words: str) -> None:
    halves = [
        part and Histogram(part.bounds, tuple(count / 2 for count in part.counts)) for part in (candidate, stable)
    ]
    first = judge_latency(check, FIRST, halves[0], halves[1], stable is not None)
    again = replace(FIRST, look=Look(2), before=first.evidence)
    judged = judge_latency(check, again, candidate, stable, stable is not None)
    assert judged.verdict == verdict, judged.message
    assert words in judged.message
