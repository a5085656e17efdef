"""Worlds for the tests of the rollout engine."""

from __future__ import annotations

import copy

import pytest

from .world import SPEC, World


@pytest.fixture
def world() -> World:
    """A world in which version 1 serves with two pods and 200 requests a second."""
    made = World(copy.deepcopy(SPEC))
    made.deploy("1")
    made.run_until("Stable")
    made.events.clear()
    made.weights.clear()
    made.stranded = 0.0
    return made


@pytest.fixture
def empty_world() -> World:
    """A world in which nothing serves yet."""
    made = World(copy.deepcopy(SPEC))
    made.deploy("1")
    return made
