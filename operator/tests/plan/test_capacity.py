"""How many pods all of the traffic needs, told from those that an autoscaler made for a part of it."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from haldane.api.v1alpha1 import ModelDeployment
from haldane.plan.capacity import whole


@pytest.mark.parametrize(
    ("pods", "weight", "expected"), [(1, 1, 1), (2, 1, 50), (1, 50, 1), (8, 50, 15), (3, 25, 9), (7, 100, 7)]
)
def test_the_fewest_that_need_so_many_for_their_part(
    model_deployment: Callable[..., ModelDeployment], pods: int, weight: int, expected: int
) -> None:
    md = model_deployment(scaling={"minReplicas": 1, "maxReplicas": 50})
    assert whole(md, pods, weight) == expected


@given(st.integers(1, 500), st.integers(1, 100))
def test_what_a_weight_needs_by_itself_is_no_growth(
    model_deployment: Callable[..., ModelDeployment], full: int, weight: int
) -> None:
    md = model_deployment(scaling={"minReplicas": 1, "maxReplicas": 500})
    assert whole(md, math.ceil(full * weight / 100), weight) <= full
