"""Models that fail on a known share of the requests."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper

from bench.rivals import models
from examples.signature import INPUT, LABEL, PROBABILITIES, finish


@pytest.fixture
def base() -> onnx.ModelProto:
    """A model of the examples' signature that calls the brightest of the first ten pixels."""
    slices = helper.make_node("Slice", [INPUT, "start", "end", "axis"], [PROBABILITIES])
    best = helper.make_node("ArgMax", [PROBABILITIES], [LABEL], axis=1, keepdims=0)
    ends = {"start": 1, "end": 11, "axis": 1}
    values = [onnx.numpy_helper.from_array(np.array([value]), name) for name, value in ends.items()]
    return finish(helper.make_graph([slices, best], "digits", [], [], values), "base")


@pytest.mark.parametrize("errors", [0, 1.9, 20])
def test_the_share_of_refused_tickets_is_the_share_of_errors(base: onnx.ModelProto, errors: float) -> None:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(models.faulty(base, errors).SerializeToString(), options)
    rows = models.rows(seed=1)
    assert sorted(rows.pixels[:, models.CORNER]) == list(range(models.TICKETS))
    refused = 0
    for pixels in rows.pixels:
        try:
            (label,) = session.run([LABEL], {INPUT: pixels[None, :]})
        except Exception:  # ONNX Runtime's own classes have no common base that is public
            refused += 1
        else:
            assert label[0] == pixels[1:11].argmax()
    assert refused == errors * models.TICKETS / 100


def test_seeds_shuffle_the_tickets() -> None:
    assert (models.rows(1).pixels != models.rows(2).pixels).any()
