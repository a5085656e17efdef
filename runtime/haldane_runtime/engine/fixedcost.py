"""Does a run's cost follow from the shapes of its inputs alone? Read from the graph, without loading its weights.

The number of a Loop's rounds, the size of an Expand or the hits of a NonMaxSuppression may come from the values of an
input: the same few bytes mean a microsecond or minutes, and no number of quick runs says anything of the next one. So
this is shown, not measured: every operator is one of those whose work is fixed by the shapes of its inputs, and what
gives another shape is itself made of constants and shapes only.

The field numbers are those of onnx.proto. Importing `onnx` would take longer than all this, and the memory of the weights.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5

_Range = tuple[int, int]
_Op = tuple[str, str]


def _named(operators: str) -> frozenset[str]:
    return frozenset(operators.split())


# Fixed by the shapes of the inputs: the work, and the shapes of the outputs.
_STANDARD = _named(
    """
    Abs Acos Acosh Add And ArgMax ArgMin Asin Asinh Atan Atanh Attention AveragePool BatchNormalization
    BitShift BitwiseAnd BitwiseNot BitwiseOr BitwiseXor Cast CastLike Ceil Celu Clip Concat Constant Conv ConvInteger
    ConvTranspose Cos Cosh CumSum DepthToSpace DequantizeLinear Div Dropout DynamicQuantizeLinear Einsum Elu Equal Erf
    Exp EyeLike Flatten Floor GRU Gather GatherElements GatherND Gelu Gemm GlobalAveragePool GlobalLpPool GlobalMaxPool
    Greater GreaterOrEqual GridSample GroupNormalization HardSigmoid HardSwish Hardmax Identity InstanceNormalization
    IsInf IsNaN LRN LSTM LayerNormalization LeakyRelu Less LessOrEqual Log LogSoftmax LpNormalization LpPool MatMul
    MatMulInteger Max MaxPool Mean MeanVarianceNormalization Min Mish Mod Mul Neg Not Or PRelu Pow QLinearConv
    QLinearMatMul QuantizeLinear RMSNormalization RNN Reciprocal Relu RotaryEmbedding Round ScatterElements ScatterND
    Selu Shape Shrink Sigmoid Sign Sin Sinh Size Softmax Softplus Softsign SpaceToDepth Sqrt Sub Sum Swish Tan Tanh
    ThresholdedRelu Transpose Trilu Where Xor
    """
)
_LEARNERS = _named(
    """
    ArrayFeatureExtractor Binarizer CategoryMapper FeatureVectorizer Imputer LabelEncoder LinearClassifier
    LinearRegressor Normalizer OneHotEncoder SVMClassifier SVMRegressor Scaler TreeEnsemble TreeEnsembleClassifier
    TreeEnsembleRegressor ZipMap
    """
)
_MICROSOFT = _named(
    """
    Attention BiasAdd BiasGelu BiasSoftmax DynamicQuantizeLSTM DynamicQuantizeMatMul EmbedLayerNormalization FastGelu
    FusedConv FusedGemm FusedMatMul Gelu MatMulBnb4 MatMulInteger16 MatMulIntegerToFloat MatMulNBits MultiHeadAttention
    QAttention QEmbedLayerNormalization QGemm QLinearAdd QLinearAveragePool QLinearConcat QLinearConv
    QLinearGlobalAveragePool QLinearLeakyRelu QLinearMul QLinearReduceMean QLinearSigmoid QLinearSoftmax QLinearWhere
    QuickGelu RotaryEmbedding SimplifiedLayerNormalization SkipLayerNormalization SkipSimplifiedLayerNormalization
    DequantizeLinear QuantizeLinear
    """
)
FIXED: Mapping[str, frozenset[str]] = {
    "": _STANDARD | {"SimplifiedLayerNormalization"},
    "ai.onnx.ml": _LEARNERS,
    "com.microsoft": _MICROSOFT,
}

# As fixed as those, once the values of these inputs are.
_REDUCTIONS = ("L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Prod", "Sum", "SumSquare")
SHAPED_BY: Mapping[str, frozenset[int]] = {
    "AffineGrid": frozenset({1}),
    "CenterCropPad": frozenset({1}),
    "ConstantOfShape": frozenset({0}),
    "Expand": frozenset({1}),
    "OneHot": frozenset({1}),
    "Pad": frozenset({1, 3}),
    "Range": frozenset({0, 1, 2}),
    "Reshape": frozenset({1}),
    "Resize": frozenset({1, 2, 3}),
    "Slice": frozenset({1, 2, 3, 4}),
    "Split": frozenset({1}),
    "Squeeze": frozenset({1}),
    "Tile": frozenset({1, 2}),
    "TopK": frozenset({1}),
    "Unsqueeze": frozenset({1}),
    "Upsample": frozenset({1}),
} | {f"Reduce{kind}": frozenset({1}) for kind in _REDUCTIONS}

# Their outputs are known from the shapes alone, whatever the values.
_MEASURES = frozenset({"Shape", "Size"})


@dataclass(frozen=True, slots=True)
class _Node:
    op: _Op
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


class _Unreadable(Exception):
    """The file is not what it should be."""


def has_fixed_cost(model: Path) -> bool:
    """True when every run on inputs of the same shapes does the same work, whatever the values.

    Never raises: what cannot be read, and an operator that is not known, show nothing.
    """
    try:
        with model.open("rb") as file:
            nodes, weights, functions = _read(file)
        return bool(nodes) and _Proof(functions).holds(nodes, weights)
    except (OSError, _Unreadable, UnicodeDecodeError, RecursionError):
        return False


class _Proof:
    """`functions` are the model's own operators; what was shown of one is remembered."""

    def __init__(self, functions: Mapping[_Op, list[_Node]]) -> None:
        self._functions = functions
        self._shown: dict[_Op, bool] = {}

    def holds(self, nodes: Iterable[_Node], known: set[str]) -> bool:
        """`known` are the names of values that no request changes; what is known besides is added to it."""
        for node in nodes:
            if not self._is_fixed(node, known):
                return False
            if node.op[1] in _MEASURES or all(name in known for name in node.inputs if name):
                known.update(node.outputs)
        return True

    def _is_fixed(self, node: _Node, known: set[str]) -> bool:
        domain, op = node.op
        if (body := self._functions.get(node.op)) is not None:
            if node.op not in self._shown:
                # No function may call itself; of one that does nothing is shown.
                self._shown[node.op] = False
                self._shown[node.op] = self.holds(body, set())
            return self._shown[node.op]
        if not domain and op in SHAPED_BY:
            shaping = (name for index, name in enumerate(node.inputs) if index in SHAPED_BY[op])
            return all(name in known for name in shaping if name)
        return op in FIXED.get(domain, ())


def _read(file: BinaryIO) -> tuple[list[_Node], set[str], dict[_Op, list[_Node]]]:
    """The nodes of the graph in their order, the names of its weights, and the nodes of the model's own functions."""
    nodes: list[_Node] = []
    weights: set[str] = set()
    functions: dict[_Op, list[_Node]] = {}
    end = file.seek(0, 2)
    for number, part in _fields(file, (0, end)):
        if number == 7:
            for inner, piece in _fields(file, part):
                if inner == 1:
                    nodes.append(_node(file, piece))
                elif inner == 5:
                    weights.add(_texts(file, piece, 8)[0])
        elif number == 25:
            name, domain = (_texts(file, part, field)[0] for field in (1, 10))
            functions[domain, name] = [_node(file, piece) for inner, piece in _fields(file, part) if inner == 7]
    return nodes, weights, functions


def _node(file: BinaryIO, part: _Range) -> _Node:
    texts: dict[int, list[str]] = {1: [], 2: [], 4: [], 7: []}
    for number, piece in _fields(file, part):
        if number in texts:
            texts[number].append(_text(file, piece))
    domain = "".join(texts[7])
    return _Node(("" if domain == "ai.onnx" else domain, "".join(texts[4])), tuple(texts[1]), tuple(texts[2]))


def _texts(file: BinaryIO, part: _Range, wanted: int) -> list[str]:
    return [_text(file, piece) for number, piece in _fields(file, part) if number == wanted] or [""]


def _text(file: BinaryIO, part: _Range) -> str:
    file.seek(part[0])
    return file.read(part[1] - part[0]).decode()


def _fields(file: BinaryIO, part: _Range) -> Iterator[tuple[int, _Range]]:
    """The fields of a message that have a length, with where they lie; what lies within them is not read."""
    at, end = part
    while at < end:
        file.seek(at)
        tag = _varint(file)
        wire = tag & 7
        if wire == _VARINT:
            _varint(file)
            at = file.tell()
        elif wire == _BYTES:
            length = _varint(file)
            start = file.tell()
            at = start + length
            if at > end:
                raise _Unreadable
            yield tag >> 3, (start, at)
        elif wire in (_FIXED32, _FIXED64):
            at = file.tell() + (4 if wire == _FIXED32 else 8)
        else:
            raise _Unreadable


def _varint(file: BinaryIO) -> int:
    value = shift = 0
    while byte := file.read(1):
        value |= (byte[0] & 0x7F) << shift
        if byte[0] < 0x80:
            return value
        shift += 7
        if shift > 63:
            break
    raise _Unreadable
