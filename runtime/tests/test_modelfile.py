from contextlib import suppress
from pathlib import Path
from typing import Any

import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

from haldane_runtime.commands.modelfile import ModelFile, read_model_file


def test_header_operators_and_parameters_are_those_that_onnx_reads(models: Any) -> None:
    for path in (models.double(), models.person(), models.lookup(), models.work(), models.mapping()):
        read, told = read_model_file(path), onnx.load(path)
        assert read.ir_version == told.ir_version
        assert read.opsets == {one.domain or "ai.onnx": one.version for one in told.opset_import}
        assert sum(read.operators.values()) == len(told.graph.node)
    assert read_model_file(models.lookup()).parameters == 3
    assert read_model_file(models.work()).parameters == 96 * 96
    assert read_model_file(models.mapping()).operators == {"ai.onnx.ml:ZipMap": 1}


def test_dimensions_may_be_packed_or_repeated(tmp_path: Path) -> None:
    tensor = helper.make_tensor("w", TensorProto.FLOAT, [2, 300], b"\0" * 2400, raw=True)
    raw = tensor.SerializeToString()
    # The same dimensions as one packed field: key 0x0a, 3 bytes, 2 and 300 as varints.
    packed = b"\x0a\x03\x02\xac\x02" + raw.replace(b"\x08\x02\x08\xac\x02", b"", 1)
    for number, weight in enumerate((raw, packed)):
        graph = b"\x2a" + _length(weight) + weight
        path = tmp_path / f"{number}.onnx"
        path.write_bytes(b"\x08\x08" + b"\x3a" + _length(graph) + graph)
        assert read_model_file(path) == ModelFile(8, "", {}, {}, 600)


def _length(content: bytes) -> bytes:
    size, out = len(content), bytearray()
    while size >= 0x80:
        out.append(size & 0x7F | 0x80)
        size >>= 7
    return bytes([*out, size])


@given(content=st.binary(min_size=1, max_size=200))
def test_anything_else_is_a_value_error(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "random.onnx"
    path.write_bytes(content)
    with suppress(ValueError):
        read_model_file(path)
