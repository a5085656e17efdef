import pytest
from hypothesis import given
from hypothesis import strategies as st

from e2e.harness.tally import NOBODY, Tally, VersionCount

VERSIONS = st.sampled_from(["v1", "v2", None])


def test_counts_are_kept_by_version() -> None:
    tally = Tally()
    tally.answered("v1", right=True, seconds=0.01, at=1)
    tally.answered("v1", right=False, seconds=0.02, at=2)
    tally.failed("v2", "500: broke", seconds=0.03, at=3)
    tally.failed(None, "no answer", seconds=0.04, at=4)
    assert tally.requests == 4
    assert tally.versions["v1"].accuracy == 0.5
    assert tally.versions["v2"].accuracy is None
    assert tally.versions["v2"].failures == ["500: broke"]
    assert tally.versions[NOBODY].failed == 1


def test_only_a_candidates_own_failures_are_not_lost() -> None:
    tally = Tally()
    tally.failed("v4-broken", "500", seconds=0, at=0)
    assert tally.lost({"v4-broken"}) == 0
    tally.failed("v2", "500", seconds=0, at=0)
    tally.failed(None, "502", seconds=0, at=0)
    assert tally.lost({"v4-broken"}) == 2


def test_the_share_is_of_recent_requests() -> None:
    tally = Tally()
    assert tally.share("v1", now=0) is None
    for second in range(20):
        tally.answered("v1" if second < 12 else "v2", right=True, seconds=0, at=second)
    assert tally.share("v2", now=19, window=10) == pytest.approx(0.8)


@pytest.mark.parametrize(("quantile", "expected"), [(0.5, 50), (0.99, 99), (1.0, 100), (0.001, 1)])
def test_a_quantile_is_the_nearest_rank(quantile: float, expected: float) -> None:
    count = VersionCount()
    assert count.latency(quantile) is None
    count.latencies.extend(range(100, 0, -1))
    assert count.latency(quantile) == expected


@given(st.lists(st.tuples(VERSIONS, st.booleans()), max_size=200))
def test_every_request_is_counted_once(events: list[tuple[str | None, bool]]) -> None:
    tally = Tally()
    for at, (version, failed) in enumerate(events):
        if failed or version is None:
            tally.failed(version, "why", seconds=0.1, at=at)
        else:
            tally.answered(version, right=True, seconds=0.1, at=at)
    assert tally.requests == len(events)
    assert tally.lost(()) == sum(failed or version is None for version, failed in events)
    shares = [tally.share(version, now=len(events), window=1e9) or 0 for version in tally.versions]
    assert sum(shares) == pytest.approx(1 if events else 0)
