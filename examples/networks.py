"""Versions 1, 2 and 4 of the example: a linear model, a small network, and that network behind a faulty look-up table."""

from typing import Any, Final

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from skl2onnx import convert_sklearn
from skl2onnx.common.data_types import FloatTensorType
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline

from examples.dataset import BRIGHTEST, PIXELS, Rows
from examples.signature import INPUT, LABEL, ML_OPSET, OPSET, PROBABILITIES, finish

_SEED: Final = 0
_COMPONENTS: Final = 8
_HIDDEN: Final = (128, 64)


def linear(rows: Rows) -> onnx.ModelProto:
    """Version 1: logistic regression on the first 8 principal components."""
    model = make_pipeline(PCA(_COMPONENTS, svd_solver="full"), LogisticRegression(max_iter=2000))
    model.fit(rows.pixels, rows.labels)
    return finish(_graph(model), "v1")


def network(rows: Rows) -> onnx.ModelProto:
    """Version 2: a perceptron with hidden layers of 128 and 64."""
    return finish(_graph(_perceptron().fit(rows.pixels, rows.labels)), "v2")


def broken(rows: Rows) -> onnx.ModelProto:
    """Version 4: version 2's network on contrast-corrected pixels, with a table that is one entry short.

    The pixels take 17 levels (0 to 16), the exported table has 16 entries. An empty image passes, so loading and warming up see nothing;
    ONNX Runtime refuses any image with a pixel at full brightness, which are 98 % of them.
    """
    contrast = np.sqrt(np.arange(BRIGHTEST + 1, dtype=np.float32) / BRIGHTEST) * BRIGHTEST
    model = _perceptron().fit(contrast[rows.pixels.astype(np.int64)], rows.labels)
    graph = _graph(model)
    for node in graph.node:
        node.input[:] = ["contrasted" if name == INPUT else name for name in node.input]
    table = numpy_helper.from_array(contrast[:BRIGHTEST], "contrast")
    graph.initializer.append(table)
    lookup = [
        helper.make_node("Cast", [INPUT], ["levels"], to=TensorProto.INT64),
        helper.make_node("Gather", ["contrast", "levels"], ["contrasted"]),
    ]
    network_nodes = list(graph.node)
    del graph.node[:]
    graph.node.extend(lookup + network_nodes)
    return finish(graph, "v4-broken")


def _perceptron() -> MLPClassifier:
    return MLPClassifier(_HIDDEN, alpha=0.01, max_iter=300, random_state=_SEED)


def _graph(model: Any) -> onnx.GraphProto:
    exported = convert_sklearn(
        model,
        initial_types=[(INPUT, FloatTensorType([None, PIXELS]))],
        options={id(model): {"zipmap": False}},
        target_opset={"": OPSET, "ai.onnx.ml": ML_OPSET},
    )
    assert isinstance(exported, onnx.ModelProto)
    graph = exported.graph
    names = dict(zip((output.name for output in graph.output), (LABEL, PROBABILITIES), strict=True))
    for node in graph.node:
        node.output[:] = [names.get(name, name) for name in node.output]
        node.input[:] = [names.get(name, name) for name in node.input]
    return graph
