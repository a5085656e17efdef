"""The three models that are served: made here from a seed, the same bytes on every machine with the same libraries."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

OPSET = 17
IR_VERSION = 8
TREES = 500


@dataclass(frozen=True, slots=True)
class Model:
    """One ONNX file; every model here has one float32 input whose first dimension is the batch."""

    name: str
    title: str
    path: Path
    input: str
    shape: tuple[int, ...]
    """Of one row, without the batch."""
    outputs: tuple[tuple[str, str, tuple[int, ...]], ...]
    """Name, datatype as the Open Inference Protocol writes it, and shape of one row."""

    def rows(self, count: int, seed: int = 0) -> NDArray[np.float32]:
        """Inputs of `count` different requests, shape (count, 1, *shape)."""
        random = np.random.default_rng(seed)
        # Four decimals, as measured quantities have them.
        return random.normal(size=(count, 1, *self.shape)).round(4).astype(np.float32)


def mlp(folder: Path) -> Model:
    """128-512-512-10 with ReLU and softmax: tiny, so that the server around it is what is measured."""
    path = folder / "mlp" / "model.onnx"
    _once(path, _mlp)
    return Model("mlp", "MLP 128-512-512-10", path, "x", (128,), (("y", "FP32", (10,)),))


def image(folder: Path) -> Model:
    """A residual net of ResNet-18's size and shapes (He et al., CVPR 2016, table 1), its batch norms folded into the convolutions."""
    path = folder / "image" / "model.onnx"
    _once(path, _resnet18)
    return Model("image", "ResNet-18 3x224x224", path, "x", (3, 224, 224), (("y", "FP32", (1000,)),))


def trees(folder: Path) -> Model:
    """Gradient-boosted trees: scikit-learn's classifier through skl2onnx."""
    path = folder / "trees" / "model.onnx"
    _once(path, _trees)
    outputs = (("label", "INT64", ()), ("probabilities", "FP32", (2,)))
    return Model("trees", f"{TREES} boosted trees", path, "x", (30,), outputs)


def make(folder: Path) -> dict[str, Model]:
    """All three, made anew only when this file has changed."""
    key = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:12]
    return {model.name: model for model in (mlp(folder / key), image(folder / key), trees(folder / key))}


def _once(path: Path, build: Callable[[], bytes]) -> None:
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(".fresh")
    fresh.write_bytes(build())
    fresh.replace(path)


class _Graph:
    """Collects nodes and weights; every tensor is named after the node that makes it."""

    def __init__(self) -> None:
        self._random = np.random.default_rng(0)
        self._nodes: list[onnx.NodeProto] = []
        self._weights: list[onnx.TensorProto] = []

    def weight(self, *shape: int, fan: int) -> str:
        # He's scale keeps the activations of a deep net finite.
        values = self._random.normal(scale=np.sqrt(2 / fan), size=shape).astype(np.float32)
        name = f"w{len(self._weights)}"
        self._weights.append(numpy_helper.from_array(values, name))
        return name

    def node(self, operator: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        name = output or f"t{len(self._nodes)}"
        self._nodes.append(helper.make_node(operator, list(inputs), [name], **attributes))
        return name

    def bytes(self, shape: Sequence[int], classes: int) -> bytes:
        graph = helper.make_graph(
            self._nodes,
            "bench",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", *shape])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", classes])],
            self._weights,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)])
        model.ir_version = IR_VERSION
        onnx.checker.check_model(model)
        return bytes(model.SerializeToString())


def _mlp() -> bytes:
    graph = _Graph()
    last = "x"
    for width, size in ((128, 512), (512, 512)):
        weights, bias = graph.weight(width, size, fan=width), graph.weight(size, fan=width)
        last = graph.node("Relu", graph.node("Gemm", last, weights, bias))
    weights, bias = graph.weight(512, 10, fan=512), graph.weight(10, fan=512)
    graph.node("Softmax", graph.node("Gemm", last, weights, bias), output="y", axis=-1)
    return graph.bytes((128,), 10)


def _resnet18() -> bytes:
    graph = _Graph()

    def convolve(source: str, planes: int, into: int, kernel: int, stride: int) -> str:
        weights, bias = graph.weight(into, planes, kernel, kernel, fan=planes * kernel**2), graph.weight(into, fan=into)
        pads = [kernel // 2] * 4
        shape: dict[str, Any] = {"kernel_shape": [kernel] * 2, "strides": [stride] * 2, "pads": pads}
        return graph.node("Conv", source, weights, bias, **shape)

    last = graph.node("Relu", convolve("x", 3, 64, 7, 2))
    last = graph.node("MaxPool", last, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    planes = 64
    for into, first_stride in ((64, 1), (128, 2), (256, 2), (512, 2)):
        for stride in (first_stride, 1):
            inner = graph.node("Relu", convolve(last, planes, into, 3, stride))
            inner = convolve(inner, into, into, 3, 1)
            shortcut = last if stride == 1 and planes == into else convolve(last, planes, into, 1, stride)
            last = graph.node("Relu", graph.node("Add", inner, shortcut))
            planes = into
    last = graph.node("Flatten", graph.node("GlobalAveragePool", last))
    weights, bias = graph.weight(512, 1000, fan=512), graph.weight(1000, fan=512)
    graph.node("Softmax", graph.node("Gemm", last, weights, bias), output="y", axis=-1)
    return graph.bytes((3, 224, 224), 1000)


def _trees() -> bytes:
    from skl2onnx import to_onnx
    from sklearn.datasets import make_classification
    from sklearn.ensemble import GradientBoostingClassifier

    features, labels = make_classification(n_samples=2000, n_features=30, n_informative=12, random_state=0)
    classifier = GradientBoostingClassifier(n_estimators=TREES, max_depth=4, subsample=0.5, random_state=0)
    classifier.fit(features.astype(np.float32), labels)
    options = {id(classifier): {"zipmap": False}}
    sample = features[:1].astype(np.float32)
    model = to_onnx(classifier, sample, options=options, target_opset={"": OPSET, "ai.onnx.ml": 3})
    graph = model.graph
    for old, new in ((graph.input[0].name, "x"), (graph.output[0].name, "label")):
        _rename(graph, old, new)
    return bytes(model.SerializeToString())


def _rename(graph: onnx.GraphProto, old: str, new: str) -> None:
    for value in (*graph.input, *graph.output):
        if value.name == old:
            value.name = new
    for node in graph.node:
        for names in (node.input, node.output):
            for index, name in enumerate(names):
                if name == old:
                    names[index] = new
