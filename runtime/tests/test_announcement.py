import json

import pytest

from haldane_runtime.announcement import example_instance, url_host
from haldane_runtime.core.types import Datatype, ModelSignature, TensorSpec


def signature(*specs: tuple[str, Datatype, tuple[int | str, ...]]) -> ModelSignature:
    return ModelSignature(tuple(TensorSpec(*spec) for spec in specs), ())


@pytest.mark.parametrize(
    ("model", "row"),
    [
        (signature(("x", Datatype.FP32, ("N", 3))), [0, 0, 0]),
        (signature(("x", Datatype.FP32, ("N", 2, 2))), [[0, 0], [0, 0]]),
        (signature(("x", Datatype.INT64, ("N",))), 0),
        (signature(("ids", Datatype.INT64, ("N", "length"))), [0]),
        (
            signature(
                ("age", Datatype.FP32, ("N", 1)), ("name", Datatype.BYTES, ("N", 1)), ("b", Datatype.BOOL, (1, 1))
            ),
            {"age": [0], "name": ["text"], "b": [False]},
        ),
        (signature(("x", Datatype.FP32, ("N", 3, 224, 224))), None),
        (signature(("x", Datatype.FP32, ())), None),
        (signature(("x", Datatype.FP16, ("N", 3))), None),
    ],
)
def test_an_example_is_one_short_row(model: ModelSignature, row: object) -> None:
    assert json.dumps(example_instance(model)) == json.dumps(row)


def test_addresses_as_a_url_names_them() -> None:
    assert [url_host(host) for host in ("", "0.0.0.0", "::", "127.0.0.1", "::1", "box")] == [
        "localhost", "localhost", "localhost", "127.0.0.1", "[::1]", "box",
    ]  # fmt: skip
