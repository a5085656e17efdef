"""What every version of the example model takes and gives, so that one can replace another."""

from typing import Final

import onnx
from onnx import TensorProto, helper

from examples.dataset import CLASSES, PIXELS

INPUT: Final = "pixels"
LABEL: Final = "label"
PROBABILITIES: Final = "probabilities"
OPSET: Final = 18
ML_OPSET: Final = 3
IR_VERSION: Final = 9


def input_info() -> onnx.ValueInfoProto:
    """`pixels`: float32 [rows, 64]."""
    return helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, ["rows", PIXELS])


def output_infos() -> list[onnx.ValueInfoProto]:
    """`label`: int64 [rows]; `probabilities`: float32 [rows, 10]."""
    return [
        helper.make_tensor_value_info(LABEL, TensorProto.INT64, ["rows"]),
        helper.make_tensor_value_info(PROBABILITIES, TensorProto.FLOAT, ["rows", CLASSES]),
    ]


def finish(graph: onnx.GraphProto, version: str) -> onnx.ModelProto:
    """A checked model of `graph` with the common inputs and outputs.

    Names that exporters make up and that change from run to run are replaced, so that the same training gives the same file.

    Raises:
        onnx.checker.ValidationError: the graph does not produce the common outputs.
    """
    del graph.input[:], graph.output[:]
    graph.input.append(input_info())
    graph.output.extend(output_infos())
    graph.name = "digits"
    graph.doc_string = ""
    model = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", OPSET), helper.make_opsetid("ai.onnx.ml", ML_OPSET)],
        ir_version=IR_VERSION,
        producer_name="haldane-examples",
        producer_version=version,
    )
    onnx.checker.check_model(model, full_check=True)
    return model
