"""Golden requests: how they are read, what is wrong with them, and what a model gets wrong."""

import contextlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from haldane_runtime.core.errors import LoadError, Reason
from haldane_runtime.core.types import Datatype, ModelSignature, TensorSpec
from haldane_runtime.engine import golden, onnx
from haldane_runtime.engine.comparison import Tolerance, deviation, first_difference


def tensor(name: str, shape: list[int], data: Any, datatype: str = "FP32") -> dict[str, Any]:
    return {"name": name, "shape": shape, "datatype": datatype, "data": data}


def document(inputs: Any, outputs: Any = None, **more: Any) -> str:
    return json.dumps({"requests": [{"inputs": inputs} | ({"outputs": outputs} if outputs else {})]} | more)


def spec(datatype: Datatype, shape: tuple[int | str, ...] = ("N",), name: str = "x") -> TensorSpec:
    return TensorSpec(name, datatype, shape)


def parsed(datatype: Datatype, data: Any, shape: list[int]) -> Any:
    text = document([tensor("x", shape, data, datatype)])
    return golden.parse(text, "golden.json", ModelSignature((spec(datatype, ()),), ())).requests[0].inputs["x"]


@pytest.mark.parametrize(
    ("datatype", "data", "expected"),
    [
        (Datatype.FP32, [1, 0.5, None], [1, 0.5, np.nan]),
        (Datatype.FP16, [1, 0.5, None], [1, 0.5, np.nan]),
        (Datatype.FP64, [[1], [0.1], [1e300]], [1, 0.1, 1e300]),
        (Datatype.INT64, [1, -(2**63), 2**63 - 1], [1, -(2**63), 2**63 - 1]),
        (Datatype.UINT64, [1, 2, 2**64 - 1], [1, 2, 2**64 - 1]),
        (Datatype.BOOL, [True, False, True], [True, False, True]),
        (Datatype.BYTES, ["a", "", "bö"], ["a", "", "bö"]),
        # 1, the nearest to 1 + 2^-8 (a tie: to even), and NaN.
        (Datatype.BF16, [1, 1.00390625, None], [0x3F80, 0x3F80, 0x7FC0]),
    ],
)
def test_values_of_every_type(datatype: Datatype, data: Any, expected: Any) -> None:
    np.testing.assert_array_equal(parsed(datatype, data, [3, 1])[:, 0], expected)


def test_a_scalar_and_an_empty_tensor() -> None:
    assert parsed(Datatype.FP32, [2.5], []).shape == ()
    assert parsed(Datatype.FP32, [], [0, 3]).shape == (0, 3)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.sampled_from(["x", "FP32"]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                ["requests", "inputs", "outputs", "name", "shape", "datatype", "data", "tolerance", "relative"]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=20,
)


@given(JSON, st.lists(JSON, max_size=3) | JSON)
def test_whatever_they_hold_a_load_fails_with_a_sentence(anything: Any, inputs: Any) -> None:
    signature = ModelSignature((spec(Datatype.FP32, ("N", 2)),), ())
    for document in (anything, {"requests": anything}, {"requests": [{"inputs": inputs}]}):
        with contextlib.suppress(LoadError):
            golden.parse(json.dumps(document), "golden.json", signature)
    for part in ("name", "shape", "datatype", "data"):
        sound = tensor("x", [1, 2], [1, 2]) | {part: anything}
        with contextlib.suppress(LoadError):
            golden.parse(json.dumps({"requests": [{"inputs": [sound]}]}), "golden.json", signature)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "Expecting property name"),
        ("[]", "list indices must be integers"),
        ("{}", "'requests' is missing"),
        ('{"requests": []}', "it holds no requests"),
        ('{"requests": [{}]}', "request 0: 'inputs' is missing"),
        (document([]), "request 0: the input 'x' is missing"),
        (document([tensor("z", [1, 2], [1, 2])]), "request 0: the model has no input 'z', only x"),
        (document([tensor("x", [1, 2], [1, 2], "FP64")]), "the input 'x' is FP32, not FP64"),
        (document([tensor("x", [1, 3], [1, 2, 3])]), "'x' is FP32 of shape [-1, 2], not of shape [1, 3]"),
        (document([tensor("x", [2], [1, 2])]), "not of shape [2]"),
        (document([tensor("x", [1, 2], [1, 2, 3])]), "'x' of shape [1, 2] needs 2 values, got 3"),
        (document([tensor("x", [1, 2], [1, "2"])]), "'x' is FP32, which '2' is not"),
        (document([tensor("x", [1, 2], [1, True])]), "'x' is FP32, which True is not"),
        (document([tensor("x", [1, 2], [1, [2]])]), "'x' is FP32, which [2] is not"),
        (document([tensor("x", [1, 2], [1, 2])] * 2), "the input 'x' is given twice"),
        (document([tensor("x", [1, 2], [1, 2])], [tensor("q", [1], [1])]), "the model has no output 'q', only y"),
        (document([tensor("x", [1, 2], [1, 2])], [tensor("y", [1], [300], "UINT8")]), "out of bounds for uint8"),
        (document([tensor("x", [1, 2], [1, 2])], tolerance={"relative": "small"}), "could not convert string to float"),
    ],
)
def test_what_is_wrong_with_them_is_named(text: str, message: str) -> None:
    signature = ModelSignature((spec(Datatype.FP32, ("N", 2)),), (spec(Datatype.UINT8, name="y"),))
    with pytest.raises(LoadError) as caught:
        golden.parse(text, "golden.json", signature)
    assert caught.value.reason is Reason.INVALID_CONFIGURATION
    assert caught.value.message.startswith("The golden requests of golden.json cannot be used: ")
    assert message in caught.value.message


def test_they_come_from_the_setting_or_lie_beside_the_model(tmp_path: Path) -> None:
    model = tmp_path / "model.onnx"
    assert golden.read(None, model) is None
    (tmp_path / "golden.json").write_text("beside")
    (tmp_path / "other.json").write_text("other")
    assert golden.read(None, model) == ("beside", "golden.json")
    assert golden.read(str(tmp_path / "other.json"), model) == ("other", str(tmp_path / "other.json"))
    assert golden.read(' {"requests": []}', model) == (' {"requests": []}', "HALDANE_GOLDEN")
    with pytest.raises(LoadError, match="HALDANE_GOLDEN /absent does not exist") as caught:
        golden.read("/absent", model)
    assert caught.value.reason is Reason.INVALID_CONFIGURATION
    with pytest.raises(LoadError, match="cannot be read"):
        golden.read(str(tmp_path), model)


@pytest.mark.parametrize(
    ("data", "more", "message"),
    [
        ([2, 4, 6], {}, None),
        ([2, 4, 6.001], {}, None),
        ([2, 4, 7], {}, "request 0 of golden.json: output 'y' is 6 instead of 7 at index [0, 2]; correct the model or"),
        ([2, 4, 7], {"tolerance": {"relative": 0.5}}, None),
        (
            [2, 4, 6.001],
            {"tolerance": {"relative": 0, "absolute": 0}},
            "output 'y' is 6 instead of 6.001 at index [0, 2]",
        ),
        ([2, None, 6], {}, "output 'y' is 4 instead of nan at index [0, 1]"),
    ],
)
def test_a_model_must_give_the_golden_answers(models: Any, data: Any, more: Any, message: str | None) -> None:
    engine = onnx.load(models.double(), "cpu", 1)
    text = document([tensor("x", [1, 3], [1, 2, 3])], [tensor("y", [1, 3], data)], **more)
    requests = golden.parse(text, "golden.json", engine.signature)
    if message is None:
        golden.check(engine, requests, requests.tolerance)
        return
    with pytest.raises(LoadError) as caught:
        golden.check(engine, requests, requests.tolerance)
    assert caught.value.reason is Reason.GOLDEN_MISMATCH
    assert message in caught.value.message


def test_a_golden_request_that_fails_is_a_mismatch(models: Any) -> None:
    engine = onnx.load(models.lookup(), "cpu", 1)
    requests = golden.parse(document([tensor("i", [1], [7], "INT64")]), "golden", engine.signature)
    with pytest.raises(LoadError, match="request 0 of golden: the model failed") as caught:
        golden.check(engine, requests, requests.tolerance)
    assert caught.value.reason is Reason.GOLDEN_MISMATCH


def test_strings_and_nan_are_compared(models: Any) -> None:
    engine = onnx.load(models.person(), "cpu", 1)
    inputs = [tensor("age", [1, 1], [-1]), tensor("name", [1, 1], ["ann"], "BYTES")]
    right = [tensor("log", [1, 1], [None]), tensor("echo", [1, 1], ["ann"], "BYTES")]
    requests = golden.parse(document(inputs, right), "golden.json", engine.signature)
    golden.check(engine, requests, requests.tolerance)
    requests = golden.parse(document(inputs, [tensor("echo", [1, 1], ["bo"], "BYTES")]), "g", engine.signature)
    with pytest.raises(LoadError, match=r"output 'echo' is 'ann' instead of 'bo' at index \[0, 0\]"):
        golden.check(engine, requests, requests.tolerance)


@pytest.mark.parametrize(
    ("got", "expected", "tolerance", "same"),
    [
        ([1, np.inf], [1, np.inf], Tolerance(0, 0), True),
        ([1, np.inf], [1, -np.inf], Tolerance(1, 1), False),
        ([1, np.nan], [1, 1], Tolerance(1, 1), False),
        ([0.0, 1000], [0.01, 1000], Tolerance(0, 0), False),
        ([0.0, 1000], [0.01, 1000], Tolerance(0, 0, scaled=1e-4), True),
        ([], [], Tolerance(0, 0), True),
    ],
)
def test_floats_agree_within_a_tolerance(got: Any, expected: Any, tolerance: Tolerance, same: bool) -> None:
    one, other = ({"x": np.array(values, np.float32)} for values in (got, expected))
    assert (first_difference((spec(Datatype.FP32),), one, other, tolerance) is None) is same


@pytest.mark.parametrize(
    ("datatype", "got", "expected", "far"),
    [
        (Datatype.FP32, [1, 10], [1, 10], 0),
        (Datatype.FP32, [1, 10.5], [1, 10], 0.05),
        (Datatype.FP32, [0, 0], [0, 0], 0),
        (Datatype.FP32, [1, 0], [0, 0], np.inf),
        (Datatype.FP32, [np.nan, 0], [np.nan, 0], 0),
        (Datatype.FP32, [np.nan, 0], [0, 0], np.inf),
        (Datatype.BF16, [0x3F80, 0x4000], [0x3F80, 0x4080], 0.5),
        (Datatype.INT64, [1, 2, 3, 4], [1, 2, 3, 5], 0.25),
        (Datatype.FP32, [1], [1, 2], np.inf),
        (Datatype.FP32, [], [], 0),
    ],
)
def test_how_far_two_tensors_are_apart(datatype: Datatype, got: Any, expected: Any, far: float) -> None:
    kind: Any = np.uint16 if datatype is Datatype.BF16 else np.int64 if datatype is Datatype.INT64 else np.float32
    assert deviation(datatype, np.array(got, kind), np.array(expected, kind)) == pytest.approx(far)
