"""What a user's PromQL shows without asking."""

from __future__ import annotations

import pytest

from haldane.plan.expressions import is_scalar, is_whole, names_its_end


@pytest.mark.parametrize(
    ("promql", "whole"),
    [
        ('sum(rate(a{b="c"}[5m]))', True),
        ("a) or (b", False),
        ("sum(a", False),
        ("sum(a]", False),
        ("a}", False),
        ("", True),
        ('a{b=")"}', True),
        (r'a{b="\")"}', True),
        ("a{b=~`\\`}", True),
        ("a{b='('}", True),
        ('a{b="c}', False),
        ("a{b=`c}", False),
        ('a{b="\n"}', False),
        ('a # the closing ) of nothing, and a "', True),
        ("sum( # of all\n a)", True),
        ("sum(a # )", False),
        ('a{b="#"} or (c', False),
    ],
)
def test_whole(promql: str, whole: bool) -> None:
    assert is_whole(promql) is whole


@pytest.mark.parametrize(
    ("promql", "scalar"),
    [
        ("1", True),
        ("-1e-3 + .5 * (0x1F)", True),
        ("1h30m", True),
        ("NaN + Inf", True),
        ("time() - 3600", True),
        ("scalar(sum(rate(a[5m])) / sum(b))", True),
        ("scalar(a) / scalar (b) # of c", True),
        ("2 > bool pi ()", True),
        ("scalar(a) / b", False),
        ("vector(1)", False),
        ("scalar", False),
        ("time", False),
        ("time[5m]", False),
        ("sum(scalar(a))", False),
        ('{b="c"}', False),
        ('"5"', False),
        ("a", False),
        ("5 * a", False),
    ],
)
def test_scalars(promql: str, scalar: bool) -> None:
    assert is_scalar(promql) is scalar


@pytest.mark.parametrize(
    ("promql", "named"),
    [("a @ end()", True), ("rate(a[5m] @ start())", True), ('a{b="@"}', False), ("a # @ end()", False)],
)
def test_a_time_of_its_own(promql: str, named: bool) -> None:
    assert names_its_end(promql) is named
