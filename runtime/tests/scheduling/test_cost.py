from hypothesis import given
from hypothesis import strategies as st

from haldane_runtime.scheduling.cost import LearnedCost


def test_nothing_known_costs_nothing() -> None:
    assert LearnedCost().predict(8) == 0


def test_what_was_measured_is_expected_again() -> None:
    cost = LearnedCost({1: 0.001, 8: 0.004})
    assert (cost.predict(1), cost.predict(8)) == (0.001, 0.004)


def test_an_unknown_size_is_judged_by_its_neighbour() -> None:
    cost = LearnedCost({4: 0.004})
    assert cost.predict(64) == 0.064
    assert cost.predict(1) == 0.004


def test_a_change_of_speed_is_followed() -> None:
    cost = LearnedCost({1: 0.001})
    for _ in range(50):
        cost.observe(1, 0.010)
    assert 0.0095 < cost.predict(1) <= 0.010


@given(st.lists(st.tuples(st.integers(1, 500), st.floats(1e-6, 10)), min_size=1, max_size=30), st.integers(1, 500))
def test_an_estimate_stays_within_what_was_seen(runs: list[tuple[int, float]], rows: int) -> None:
    cost = LearnedCost()
    for size, seconds in runs:
        cost.observe(size, seconds)
    predicted = cost.predict(rows)
    assert 0 < predicted <= max(seconds for _, seconds in runs) * 500
