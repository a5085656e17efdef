import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from haldane_runtime.core.types import Array, Datatype, InferRequest, ModelSignature, TensorSpec
from haldane_runtime.scheduling.merge import all_finite, merge, sizer, split

FIXED = ModelSignature((TensorSpec("x", Datatype.FP32, ("N", 2)),), (TensorSpec("y", Datatype.FP32, ("N",)),))
TWO = ModelSignature((TensorSpec("x", Datatype.FP32, ("N", "")), TensorSpec("w", Datatype.FP32, ("M",))), FIXED.outputs)


def one(rows: int, columns: int = 2, outputs: tuple[str, ...] = ("y",)) -> InferRequest:
    return InferRequest({"x": np.zeros((rows, columns), np.float32)}, outputs)


def two(rows: int, columns: int, others: int) -> InferRequest:
    return InferRequest({"x": np.zeros((rows, columns), np.float32), "w": np.zeros(others, np.float32)}, ("y",))


@pytest.mark.parametrize(
    ("signature", "batchable", "request_", "rows", "merges_with", "not_with"),
    [
        (FIXED, True, one(3), 3, one(5), one(5, outputs=())),
        (TWO, True, two(3, 2, 3), 3, two(1, 2, 1), two(3, 4, 3)),
    ],
)
def test_equal_keys_share_a_run(
    signature: ModelSignature,
    batchable: bool,
    request_: InferRequest,
    rows: int,
    merges_with: InferRequest,
    not_with: InferRequest,
) -> None:
    size = sizer(signature, batchable)
    assert size(request_)[0] == rows
    assert size(request_)[1] == size(merges_with)[1]
    assert size(request_)[1] != size(not_with)[1]


@pytest.mark.parametrize(
    ("signature", "batchable", "request_"),
    [(FIXED, False, one(3)), (FIXED, True, one(0)), (TWO, True, two(3, 2, 4)), (TWO, True, two(0, 2, 0))],
)
def test_what_cannot_be_merged_runs_alone(signature: ModelSignature, batchable: bool, request_: InferRequest) -> None:
    assert sizer(signature, batchable)(request_) == (1, None)


@given(st.lists(st.integers(1, 5), min_size=1, max_size=8))
def test_what_is_merged_comes_apart_again(sizes: list[int]) -> None:
    rng = np.random.default_rng(sum(sizes))
    requests = [InferRequest({"x": rng.random((size, 2), np.float32)}, ("x",)) for size in sizes]
    shares = split(merge(requests), sizes)
    assert shares is not None
    for request, share in zip(requests, shares, strict=True):
        np.testing.assert_array_equal(share["x"], request.inputs["x"])


@pytest.mark.parametrize("output", [np.zeros(3), np.array(1.0)])
def test_outputs_without_the_rows_are_told(output: np.ndarray) -> None:
    assert split({"y": output}, [1, 1]) is None


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("array", "finite"),
    [
        (np.ones((2, 3), np.float32), True),
        (np.full(10, 60000, np.float16), True),
        (np.full(3, 1e308), True),
        (np.zeros((0, 3), np.float32), True),
        (np.array(7.0), True),
        (np.array(["nan"], object), True),
        (np.ones(1, np.int64), True),
        (np.array([1, np.inf], np.float16), False),
        (np.array([np.inf, -np.inf], np.float32), False),
        (np.array([[0, np.nan]]), False),
    ],
)
def test_nan_and_infinity_are_found(array: Array, finite: bool) -> None:
    assert all_finite({"fine": np.ones(1), "y": array}) is finite
