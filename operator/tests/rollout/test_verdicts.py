"""Each rule of each check, by tables of counts."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from haldane.api.rollout import ErrorRate, Latency, Proportion, Query
from haldane.plan.evidence import Evidence
from haldane.plan.histogram import Histogram
from haldane.plan.latency import judge_latency
from haldane.plan.looks import Look
from haldane.plan.observed import Answer, Series, Unavailable
from haldane.plan.samples import Requests, read_durations, read_requests
from haldane.plan.verdicts import Trial, judge_abort, judge_error_rate, judge_proportion, judge_query

MAX = ErrorRate(max="1%")
RISE = ErrorRate(max_increase="1%")
ABORT = ErrorRate(abort="20%")
EARLY = Trial(Look(1), None, 100)


def steadily(
    look: Look, counted: Requests, baseline: Requests | None = None, bound: float = 0.0, kind: int = 0
) -> Trial:
    """A look at counts that came evenly in the ten intervals before."""
    hits, together = counted.errors, counted.errors + (baseline.errors if baseline else 0)
    before = Evidence(
        looks=10,
        requests=counted.total,
        hits=hits,
        hits_together=together,
        squares=hits**2 / max(1, counted.total),
        looks_together=10,
        squares_together=hits**2 / max(1, together),
        worst_hits=hits // 10,
        worst_requests=counted.total // 10,
        second_hits=hits // 10,
        second_requests=counted.total // 10,
        bound=bound,
        kind=kind,
    )
    return Trial(look, before, 100)


AT_THE_END = Trial(Look(20, planned=1), None, 100)


@pytest.mark.parametrize(
    ("check", "counted", "baseline", "verdict", "words"),
    [
        (MAX, Requests(0, 0), None, "Inconclusive", "no requests reached the candidate; 100 are needed"),
        (MAX, Requests(99, 99), None, "Inconclusive", "99 requests so far; 100 are needed"),
        (MAX, Requests(100, 1), None, "Pass", "error rate 1% of 100 requests is not shown to be beyond 1%"),
        (MAX, Requests(1000, 15), None, "Pass", "1.5% of 1000"),
        (MAX, Requests(1000, 30), None, "Fail", "error rate 3% of 1000 requests is beyond the limit 1%"),
        (MAX, Requests(100, 100), None, "Fail", "error rate 100%"),
        (RISE, Requests(1000, 10), Requests(1000, 10), "Pass", "not shown to be beyond 1%+1%"),
        (RISE, Requests(1000, 70), Requests(1000, 10), "Fail", "is beyond stable's 1% by more than 1%"),
        (RISE, Requests(1000, 70), Requests(50, 1), "Inconclusive", "stable answered 50 requests in the same time"),
        (RISE, Requests(1000, 70), None, "Pass", "7% of 1000"),
    ],
)
def test_error_rate(check: ErrorRate, counted: Requests, baseline: Requests | None, verdict: str, words: str) -> None:
    judged = judge_error_rate(check, steadily(Look(11), counted, baseline), counted, baseline)
    assert judged.verdict == verdict
    assert words in judged.message


@pytest.mark.parametrize(
    ("check", "counted", "baseline", "early", "at_the_end"),
    [
        (MAX, Requests(1000, 9), None, "Pass", "Pass"),
        (MAX, Requests(1000, 15), None, "Pass", "Inconclusive"),
        (MAX, Requests(1000, 19), None, "Pass", "Fail"),
        (RISE, Requests(2000, 40), Requests(38_000, 380), "Pass", "Pass"),
        (RISE, Requests(2000, 49), Requests(38_000, 380), "Pass", "Inconclusive"),
        (RISE, Requests(2000, 58), Requests(38_000, 380), "Pass", "Fail"),
        (RISE, Requests(100, 3), Requests(100, 0), "Pass", "Pass"),
    ],
)
def test_the_end_of_the_hold_sees_more_and_passes_nothing_that_is_suspicious(
    check: ErrorRate, counted: Requests, baseline: Requests | None, early: str, at_the_end: str
) -> None:
    assert judge_error_rate(check, EARLY, counted, baseline).verdict == early
    assert judge_error_rate(check, AT_THE_END, counted, baseline).verdict == at_the_end


@pytest.mark.parametrize(
    ("counted", "is_last", "verdict"),
    [
        (Requests(100, 3), False, "Pass"),
        (Requests(100, 3), True, "Inconclusive"),
        (Requests(100, 5), False, "Inconclusive"),
        (Requests(1000, 15), False, "Inconclusive"),
        (Requests(1000, 15), True, "Inconclusive"),
    ],
)
def test_a_step_too_small_to_tell_leaves_faint_suspicions_to_the_next(
    counted: Requests, is_last: bool, verdict: str
) -> None:
    trial = Trial(Look(20, planned=1, is_last=is_last), None, 100)
    assert judge_error_rate(MAX, trial, counted, None).verdict == verdict


def test_a_planned_look_is_taken_once() -> None:
    first = judge_error_rate(MAX, Trial(Look(20, planned=1), None, 100), Requests(1000, 9), None)
    assert first.evidence is not None
    assert first.evidence.planned == 1
    second = judge_error_rate(MAX, Trial(Look(21, planned=1), first.evidence, 100), Requests(1000, 19), None)
    assert second.verdict == "Inconclusive", "the same counts would have failed at the planned look"
    third = judge_error_rate(MAX, Trial(Look(40, planned=2), second.evidence, 100), Requests(1000, 20), None)
    assert third.verdict == "Fail", "when the hold's time has passed again there is another"


def test_a_fault_that_begins_late_is_seen_in_the_last_window() -> None:
    counted, baseline = Requests(20_000, 120), Requests(400_000, 400)
    trial = Trial(Look(80), None, 100)
    assert judge_error_rate(RISE, trial, counted, baseline).verdict == "Pass"
    recent = (Requests(600, 100), Requests(12_000, 12))
    assert judge_error_rate(RISE, trial, counted, baseline, recent).verdict == "Fail"


def test_a_pass_says_what_it_could_have_seen() -> None:
    poor = judge_error_rate(MAX, EARLY, Requests(100, 1), None)
    rich = judge_error_rate(MAX, EARLY, Requests(10_000, 100), None)
    assert "would have been, 4 times in 5" in poor.message
    assert poor.detectable is not None
    assert rich.detectable is not None
    assert float(poor.detectable[:-1]) > 4.5
    assert 1.2 < float(rich.detectable[:-1]) < 1.4


def test_a_user_may_demand_that_a_pass_could_have_seen_more() -> None:
    few, many = Requests(1000, 9), Requests(10_000, 90)
    for counted, verdict in ((few, "Inconclusive"), (many, "Pass")):
        judged = judge_error_rate(MAX, Trial(Look(20, planned=1), None, 100, detect=1.5), counted, None)
        assert judged.verdict == verdict
    assert judge_error_rate(MAX, AT_THE_END, few, None).verdict == "Pass"
    assert judge_error_rate(MAX, Trial(Look(1), None, 100, detect=1.5), few, None).verdict == "Pass", "the hold goes on"


@pytest.mark.parametrize(("stable", "allowed"), [(1000, "20%"), (1000, "50%"), (100_000, "80%")])
def test_a_total_failure_is_shown_beside_any_allowance(stable: int, allowed: str) -> None:
    """Also when it begins late: the requests of the last window all fail then, and vary so little that their tail says nothing."""
    check, baseline = ErrorRate(max_increase=allowed), Requests(stable, stable // 100)
    total = Requests(10 * stable, 10 * stable)
    assert judge_error_rate(check, steadily(Look(11), total, baseline), total, baseline).verdict == "Fail"
    whole, late = Requests(100 * stable, 1000), Requests(1000, 1000)
    trial = steadily(Look(40), whole, baseline)
    assert judge_error_rate(check, trial, whole, baseline, (late, baseline)).verdict == "Fail"


def test_one_burst_of_errors_proves_no_rate() -> None:
    evidence = None
    for look in range(1, 21):
        errors = 1 * look + (20 if look >= 10 else 0)
        judged = judge_error_rate(
            MAX, Trial(Look(look, planned=int(look == 20)), evidence, 100), Requests(100 * look, errors), None
        )
        assert judged.verdict != "Fail", judged.message
        evidence = judged.evidence
    evenly = judge_error_rate(MAX, Trial(Look(20, planned=1), None, 100), Requests(2000, 40), None)
    assert evenly.verdict == "Fail"


@pytest.mark.parametrize(
    ("counted", "baseline", "verdict"),
    [
        (Requests(1000, 300), Requests(1000, 300), "Pass"),
        (Requests(1000, 500), Requests(1000, 300), "Fail"),
        (Requests(1000, 450), None, "Pass"),
        (Requests(10, 9), Requests(1000, 300), "Inconclusive"),
    ],
)
def test_a_share_of_the_users_own(counted: Requests, baseline: Requests | None, verdict: str) -> None:
    check = Proportion(hits="x", max_increase="5%")
    first = judge_proportion(check, EARLY, Requests(200, 60), baseline)
    kind = first.evidence.kind if first.evidence else 0
    judged = judge_proportion(check, steadily(Look(11), counted, baseline, kind=kind), counted, baseline)
    assert judged.verdict == verdict
    assert judged.message.startswith("share" if counted.total > 10 else "10 requests")


def earlier(requests: int, hits: int, group: float = 1, bound: float = 0.0) -> Evidence:
    """What ended steps have counted, in forty intervals, with hits in groups of so many."""
    share = hits / requests
    squares = hits * share + group * 39 * share * (1 - share)
    return Evidence(
        earlier_looks=40, earlier_requests=requests, earlier_hits=hits, earlier_squares=squares, bound=bound
    )


@pytest.mark.parametrize(
    ("look", "before", "verdict"),
    [
        (AT_THE_END.look, None, "Pass"),
        (AT_THE_END.look, earlier(1000, 14), "Inconclusive"),
        (AT_THE_END.look, earlier(1000, 14, group=8), "Pass"),
        (AT_THE_END.look, earlier(1000, 8), "Pass"),
        (AT_THE_END.look, earlier(1000, 200), "Inconclusive"),
        (Look(20, planned=1, is_last=False), earlier(1000, 14), "Pass"),
        (Look(20), earlier(1000, 200), "Pass"),
    ],
    ids=["alone", "suspicious", "in groups", "good", "very bad", "another step follows", "the hold goes on"],
)
def test_the_end_of_the_last_hold_looks_at_the_steps_before_as_well(
    look: Look, before: Evidence | None, verdict: str
) -> None:
    """12 of 1000 beside a limit of 1 % say nothing alone. What the steps before had holds a step up and never fails it."""
    judged = judge_error_rate(MAX, Trial(look, before, 100), Requests(1000, 12), None)
    assert judged.verdict == verdict
    assert ("with the steps before" in judged.message) is (verdict == "Inconclusive")


@pytest.mark.parametrize(
    ("look", "before", "counted", "waits"),
    [
        (AT_THE_END.look, None, Requests(1500, 0), False),
        (AT_THE_END.look, None, Requests(4000, 20), False),
        (AT_THE_END.look, None, Requests(4000, 36), True),
        (AT_THE_END.look, earlier(2400, 12), Requests(4000, 36), False),
        (AT_THE_END.look, earlier(2400, 12, group=8), Requests(4000, 36), True),
        (AT_THE_END.look, earlier(4000, 42), Requests(4000, 36), True),
        (AT_THE_END.look, earlier(40_000, 380), Requests(40_000, 360), False),
        (AT_THE_END.look, None, Requests(200, 2), False),
        (AT_THE_END.look, None, Requests(400, 3), False),
        (AT_THE_END.look, None, Requests(400, 5), True),
        (Look(20, planned=2, held=0.5), None, Requests(400, 5), False),
        (Look(20, planned=1, is_last=False), None, Requests(4000, 36), False),
        (Look(20), None, Requests(4000, 36), False),
    ],
    ids=[
        "no errors",
        "half of the limit",
        "near the limit",
        "good before",
        "good before, in groups",
        "near the limit before",
        "near the limit, but certain",
        "too few for any proof",
        "few",
        "few, and near the limit",
        "too few for any proof within the hold",
        "another step follows",
        "the hold goes on",
    ],
)
def test_the_last_step_passes_an_absolute_limit_by_proof_until_its_deadline(
    look: Look, before: Evidence | None, counted: Requests, waits: bool
) -> None:
    """At a limit of 1 %. What proof is asked for is what a version at half of the limit can give by the end of the hold."""
    in_time, late = (
        judge_error_rate(MAX, Trial(look, before, 100, may_wait=may_wait), counted, None) for may_wait in (True, False)
    )
    assert in_time.verdict == ("Inconclusive" if waits else "Pass")
    assert ("is not shown to be clear of the limit 1%" in in_time.message) is waits
    assert late.verdict == "Pass"


@pytest.mark.parametrize(
    ("look", "before", "counted", "in_time", "late"),
    [
        (AT_THE_END.look, earlier(40_000, 420), Requests(40_000, 420), "Inconclusive", "Pass"),
        (AT_THE_END.look, earlier(40_000, 520), Requests(40_000, 420), "Inconclusive", "Inconclusive"),
        (Look(20, planned=4, held=0.125), earlier(200, 2), Requests(8000, 88), "Inconclusive", "Inconclusive"),
    ],
    ids=["faint", "strong", "clear only of what few requests can show"],
)
def test_at_the_deadline_a_faint_suspicion_passes_what_is_clear_of_little_more_than_the_limit(
    look: Look, before: Evidence, counted: Requests, in_time: str, late: str
) -> None:
    """At a limit of 1 %."""
    for may_wait, verdict in ((True, in_time), (False, late)):
        judged = judge_error_rate(MAX, Trial(look, before, 100, may_wait=may_wait), counted, None)
        assert judged.verdict == verdict
        assert "may be beyond the limit 1%" in judged.message or verdict == "Pass"


@pytest.mark.parametrize(
    ("before", "waits"),
    [
        (earlier(1200, 12, group=1.5), True),
        (replace(earlier(1200, 12), looks=20, requests=5700, hits=57, squares=1.2), False),
    ],
    ids=["groups before", "groups now"],
)
def test_the_proof_that_is_asked_for_depends_on_what_the_holds_gathered_however_long_ago_they_ended(
    before: Evidence, waits: bool
) -> None:
    """At a limit of 1 %, 3,200 requests gathered by the end of the hold and 4,000 after it, which vary in another way."""
    late = Look(100, planned=2, held=1 / 3)
    judged = judge_error_rate(MAX, Trial(late, before, 100, may_wait=True), Requests(6000, 60), None)
    assert judged.verdict == ("Inconclusive" if waits else "Pass")
    assert ("is not shown to be clear of the limit 1%" in judged.message) is waits


def test_a_rise_over_stable_needs_no_proof_to_pass() -> None:
    trial = Trial(AT_THE_END.look, None, 100, may_wait=True)
    counted, stable = Requests(4000, 36), Requests(4000, 20)
    assert judge_error_rate(ErrorRate(max_increase="0.5%"), trial, counted, stable).verdict == "Pass"


def test_slow_requests_pass_their_limit_by_proof_as_well() -> None:
    trial = Trial(AT_THE_END.look, None, 100, may_wait=True)
    for slow, verdict in ((20, "Pass"), (36, "Inconclusive")):
        assert judge_latency(Latency(max="100ms"), trial, histogram(4000 - slow, slow), None, False).verdict == verdict


def test_a_rise_over_stable_is_a_question_of_each_step_alone() -> None:
    check, trial = ErrorRate(max_increase="0.5%"), Trial(AT_THE_END.look, earlier(1000, 200), 100)
    assert judge_error_rate(check, trial, Requests(1000, 12), Requests(1000, 10)).verdict == "Pass"


def test_hits_of_another_kind_are_not_added_to() -> None:
    one, other = Proportion(hits="x", max="1%"), Proportion(hits="y", max="1%")
    first = judge_proportion(one, AT_THE_END, Requests(1000, 40), None).evidence
    assert first is not None
    before = first.for_the_next_step()
    for check, verdict in ((one, "Inconclusive"), (other, "Pass")):
        judged = judge_proportion(check, Trial(AT_THE_END.look, before, 100), Requests(1000, 11), None)
        assert judged.verdict == verdict


@pytest.mark.parametrize(
    ("limit", "bound", "verdict"), [("100ms", 0.1, "Inconclusive"), ("100ms", 0.25, "Pass"), ("250ms", 0.1, "Pass")]
)
def test_slow_requests_of_the_steps_before_are_those_beyond_the_same_bound(
    limit: str, bound: float, verdict: str
) -> None:
    trial = Trial(AT_THE_END.look, earlier(1000, 18, bound=bound), 100)
    assert judge_latency(Latency(max=limit), trial, histogram(989, 11), None, False).verdict == verdict


@pytest.mark.parametrize(
    ("recent", "aborts"),
    [
        (Requests(), False),
        (Requests(4, 4), False),
        (Requests(5, 5), True),
        (Requests(50, 12), False),
        (Requests(50, 25), True),
    ],
)
def test_abort_does_not_wait_for_min_requests_but_for_evidence(recent: Requests, aborts: bool) -> None:
    judged = judge_abort(ABORT, recent)
    assert (judged is not None and judged.verdict == "Fail") is aborts


def histogram(fast: float, slow: float) -> Histogram:
    return Histogram.from_buckets({0.01: 0, 0.05: fast, 0.1: fast, 0.25: fast + slow, math.inf: fast + slow})


@pytest.mark.parametrize(
    ("check", "subject", "baseline", "verdict", "words"),
    [
        (Latency(max="100ms"), None, None, "Inconclusive", "no requests"),
        (Latency(max="100ms"), histogram(99, 0), None, "Inconclusive", "99 requests so far"),
        (Latency(max="100ms"), histogram(995, 5), None, "Pass", "is not shown to be beyond 100ms"),
        (Latency(max="100ms"), histogram(985, 15), None, "Pass", "p99"),
        (
            Latency(max="100ms"),
            histogram(950, 50),
            None,
            "Fail",
            "of 1000 requests is beyond the limit 100ms: 50 took longer",
        ),
        (Latency(quantile="0.5", max="100ms"), histogram(950, 50), None, "Pass", "p50"),
        (Latency(max_increase="20%"), histogram(950, 50), None, "Pass", "p99"),
        (Latency(max_increase="20%"), histogram(950, 50), histogram(1000, 0), "Fail", "beyond the limit 32.5ms+20%"),
        (Latency(max_increase="20%"), histogram(1000, 0), histogram(1000, 0), "Pass", "32.5ms+20%"),
        (
            Latency(max_increase="20%"),
            histogram(950, 50),
            histogram(10, 0),
            "Inconclusive",
            "stable answered 10 requests",
        ),
        (Latency(max="200ms", max_increase="20%"), histogram(950, 50), histogram(1000, 0), "Fail", "32.5ms+20%"),
    ],
)
def test_latency(
    check: Latency, subject: Histogram | None, baseline: Histogram | None, verdict: str, words: str
) -> None:
    first = judge_latency(check, EARLY, _half(subject), _half(baseline), baseline is not None)
    assert first.verdict != "Fail", "one interval alone proves nothing"
    judged = judge_latency(check, Trial(Look(2), first.evidence, 100), subject, baseline, baseline is not None)
    assert judged.verdict == verdict
    assert words in judged.message


def _half(of: Histogram | None) -> Histogram | None:
    return Histogram(of.bounds, tuple(count / 2 for count in of.counts)) if of else None


def one(value: float) -> tuple[Series]:
    return (Series({}, value),)


@pytest.mark.parametrize(
    ("check", "answer", "baseline", "requests", "verdict", "words"),
    [
        (Query(promql="x", max="0.3"), one(0.2), None, 100, "Pass", "0.2 is within the limit 0.3"),
        (Query(promql="x", max="0.3"), one(0.4), None, 100, "Fail", "0.4 is above the limit 0.3"),
        (Query(promql="x", min="0.3"), one(0.2), None, 100, "Fail", "0.2 is below the limit 0.3"),
        (Query(promql="x", min="0.3"), one(0.4), None, 100, "Pass", "within the limit 0.3"),
        (Query(promql="x", max="0.3"), one(0.4), None, 99, "Inconclusive", "99 requests so far"),
        (Query(promql="x", max="0.3"), (), None, 100, "Inconclusive", "matched no series"),
        (Query(promql="x", max="0.3"), one(math.nan), None, 100, "Inconclusive", "nan"),
        (Query(promql="x", max="0.3"), one(math.inf), None, 100, "Inconclusive", "inf"),
        (Query(promql="x", max="0.3"), (*one(1), *one(2)), None, 100, "Inconclusive", "2 series: aggregate them"),
        (Query(promql="x", max="0.3"), Unavailable("timed out"), None, 100, "Inconclusive", "no answer: timed out"),
        (Query(promql="x", max_increase="10%"), one(1.2), one(1.0), 100, "Fail", "above the limit 1.1"),
        (Query(promql="x", max_increase="10%"), one(1.05), one(1.0), 100, "Pass", "within the limit 1.1"),
        (Query(promql="x", max_increase="10%"), one(1.2), (), 100, "Inconclusive", "for stable gave no data"),
    ],
)
def test_query(check: Query, answer: Answer, baseline: Answer | None, requests: int, verdict: str, words: str) -> None:
    judged = judge_query(check, answer, baseline, requests, 100)
    assert judged.verdict == verdict
    assert words in judged.message


def test_a_total_failure_without_a_success_series_is_data() -> None:
    requests, problem = read_requests((Series({"revision": "a", "code": "500"}, 40.2),))
    assert (requests, problem) == ({"a": Requests(40, 40)}, None)


def test_nan_and_negative_samples_are_left_out() -> None:
    requests, _ = read_requests(
        (
            Series({"revision": "a", "code": "200"}, math.nan),
            Series({"revision": "a", "code": "200"}, -1.0),
            Series({"revision": "a", "code": "200"}, 7.0),
        )
    )
    assert requests == {"a": Requests(7, 0)}


def test_buckets_without_a_number_are_left_out() -> None:
    histograms, _ = read_durations(
        (
            Series({"revision": "a", "le": "0.1"}, 5.0),
            Series({"revision": "a", "le": "+Inf"}, 9.0),
            Series({"revision": "a"}, 9.0),
        )
    )
    assert histograms["a"].total == 9.0
    assert histograms["a"].above(0.1) == 4.0
