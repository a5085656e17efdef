"""Readings and models for tests of the pure parts."""

from pathlib import Path

import pytest

from bench.runtime.loads import Reading
from bench.runtime.models import Model


def _reading(rate: float, p50: float = 0.001, p99: float = 0.002, **errors: int) -> Reading:
    return Reading(rate=rate, p50=p50, p90=p99, p99=p99, requests=int(rate), errors=errors)


@pytest.fixture
def reading() -> object:
    """Make a reading from a rate, and if need be latencies in seconds and errors by name."""
    return _reading


@pytest.fixture
def model() -> Model:
    """Two outputs, so that order and names matter; no file."""
    outputs = (("label", "INT64", ()), ("probabilities", "FP32", (2,)))
    return Model("tiny", "tiny", Path("none.onnx"), "x", (3,), outputs)
