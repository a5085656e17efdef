"""Requests that start valid and are then spoilt, for both transports; `HALDANE_FUZZ_CASES` says how many (1000).

A draft is a request as a document and its binary data. It is spoilt as a document, as a tree of JSON
values, and, once a transport has written it, as bytes.
"""

import collections
import json
import os
import struct
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

CASES = int(os.environ.get("HALDANE_FUZZ_CASES", "1000"))
REQUEST_BYTES = 1 << 20

settings.register_profile(
    "fuzz",
    parent=settings.get_profile("unhurried"),
    max_examples=CASES,
    database=None,
    phases=[Phase.explicit, Phase.generate, Phase.shrink],
    suppress_health_check=[*HealthCheck],
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.timeout(300 + CASES))


NUMPY: dict[str, str] = {"FP32": "<f4", "INT64": "<i8", "INT32": "<i4", "FP16": "<f2", "UINT8": "u1", "BOOL": "?"}
ONNX: dict[str, int] = {
    "FP32": TensorProto.FLOAT,
    "INT64": TensorProto.INT64,
    "INT32": TensorProto.INT32,
    "FP16": TensorProto.FLOAT16,
    "UINT8": TensorProto.UINT8,
    "BOOL": TensorProto.BOOL,
    "BF16": TensorProto.BFLOAT16,
    "BYTES": TensorProto.STRING,
}
# Every model is the identity of its inputs: input and its datatype, then its dimensions after the rows.
MODELS: dict[str, dict[str, tuple[str, list[int] | None]]] = {
    "numbers": {"x": ("FP32", [3])},
    "mixed": {"a": ("FP32", [2]), "b": ("INT64", [1]), "s": ("BYTES", [1])},
    "flags": {"b": ("BOOL", [2]), "u": ("UINT8", [2])},
    "halves": {"h": ("FP16", [2]), "i": ("INT32", [])},
    "brain": {"x": ("BF16", [2])},
    "free": {"x": ("FP32", None)},
    "words": {"s": ("BYTES", None)},
}


@dataclass
class Draft:
    """`tails` are the bytes of the inputs that are sent as binary data, in order."""

    model: str
    document: Any
    tails: list[bytes] = field(default_factory=list)


def _raw(datatype: str, count: int, draw: st.DrawFn) -> bytes:
    if datatype == "BYTES":
        texts = [draw(st.text(max_size=4)).encode() for _ in range(count)]
        return b"".join(struct.pack("<I", len(text)) + text for text in texts)
    if datatype == "BF16":
        return draw(st.binary(min_size=2 * count, max_size=2 * count))
    return np.arange(count).astype(NUMPY[datatype]).tobytes()


def _values(datatype: str, count: int) -> list[Any]:
    kinds: dict[str, Callable[[int], Any]] = {"BYTES": str, "BOOL": lambda i: i % 2 == 0, "FP32": float, "FP16": float}
    return [kinds.get(datatype, int)(number) for number in range(count)]


@st.composite
def valid(draw: st.DrawFn) -> Draft:
    model = draw(st.sampled_from(list(MODELS)))
    rows = draw(st.integers(0, 3))
    draft = Draft(model, {"inputs": []})
    for name, (datatype, dims) in MODELS[model].items():
        shape = draw(st.lists(st.integers(0, 3), max_size=3)) if dims is None else [rows, *dims]
        count = int(np.prod(shape, dtype=np.int64))
        tensor: dict[str, Any] = {"name": name, "shape": shape, "datatype": datatype}
        if datatype == "BF16" or draw(st.booleans()):
            draft.tails.append(_raw(datatype, count, draw))
            tensor["parameters"] = {"binary_data_size": len(draft.tails[-1])}
        else:
            tensor["data"] = _values(datatype, count)
        draft.document["inputs"].append(tensor)
    if draw(st.booleans()):
        draft.document["id"] = draw(st.text(max_size=5))
    if draw(st.booleans()):
        draft.document["parameters"] = {"binary_data_output": draw(st.booleans()), "timeout": 5_000_000}
    if draw(st.booleans()):
        outputs = draw(st.lists(st.sampled_from([f"{name}_" for name in MODELS[model]]), max_size=3))
        draft.document["outputs"] = [{"name": name, "parameters": {"binary_data": True}} for name in outputs]
    return draft


NUMBERS = st.sampled_from(
    [0, 1, -1, 2, 3, 2**31, 2**53 + 1, 2**63 - 1, 2**63, 2**64, -(2**63), 10**400, 0.5, 1e39, 1e-320]
)
WORDS = st.sampled_from(
    [
        "",
        "x",
        "a",
        "s",
        "b",
        "x_",
        "FP32",
        "INT64",
        "BYTES",
        "BOOL",
        "BF16",
        "BF32",
        "name",
        "é\0",
        "\U0001f600",
        "@deep@",
        "@wide@",
    ]
)
ODD = st.sampled_from([float("nan"), float("inf"), float("-inf"), None, True, False])
JUNK = st.recursive(
    NUMBERS | WORDS | ODD | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=8,
)
KEYS = st.sampled_from(
    [
        "id",
        "inputs",
        "outputs",
        "parameters",
        "name",
        "shape",
        "datatype",
        "data",
        "binary_data_size",
        "binary_data",
        "binary_data_output",
        "timeout",
        "sequence_id",
        "classification",
        "shared_memory_region",
        "priority",
        "instances",
    ]
)


def spoil(draw: st.DrawFn, node: Any, depth: int = 0) -> Any:
    """The tree with one place of it changed."""
    inner = isinstance(node, dict | list) and bool(node)
    if inner and draw(st.integers(0, 5)):
        key = draw(st.sampled_from(sorted(node) if isinstance(node, dict) else range(len(node))))
        node[key] = spoil(draw, node[key], depth + 1)
        return node
    action = draw(st.sampled_from(["replace", "remove", "add", "repeat", "nest", "nudge"]))
    if isinstance(node, dict) and action == "add":
        return node | {draw(KEYS): draw(JUNK)}
    if isinstance(node, dict) and node and action == "remove":
        node.pop(draw(st.sampled_from(sorted(node))))
        return node
    if isinstance(node, list) and node and action in ("remove", "repeat"):
        at = draw(st.integers(0, len(node) - 1))
        return node[:at] + node[at + 1 :] if action == "remove" else [*node, node[at]]
    if action == "nest":
        return [node]
    if action == "nudge" and type(node) is int:
        return node + draw(st.sampled_from([-1, 1, 4, 2**32]))
    return draw(JUNK)


@st.composite
def drafts(draw: st.DrawFn) -> Draft:
    """Half of the drafts stay valid as documents, for their bytes to be spoilt."""
    draft = draw(valid())
    for _ in range(draw(st.sampled_from([0, 0, 1, 1, 2, 3]))):
        if draft.tails and not draw(st.integers(0, 3)):
            at = draw(st.integers(0, len(draft.tails) - 1))
            draft.tails[at] = damage(draw, draft.tails[at])
        else:
            draft.document = spoil(draw, draft.document)
    return draft


TOKENS = st.sampled_from(
    [
        b"\\ud800",
        b"NaN",
        b"-Infinity",
        b"1e999",
        b"[",
        b"]",
        b"{",
        b"}",
        b",",
        b'"',
        b"\\",
        b"\0",
        b"\xff",
        b"-0",
        b"9" * 400,
    ]
) | st.binary(max_size=6)


def damage(draw: st.DrawFn, data: bytes) -> bytes:
    """The bytes cut, changed, longer or doubled somewhere."""
    at = draw(st.integers(0, len(data)))
    match draw(st.sampled_from(["cut", "change", "insert", "repeat"])):
        case "cut":
            return data[:at]
        case "change":
            return data[:at] + draw(st.binary(min_size=1, max_size=2)) + data[at + 1 :]
        case "insert":
            return data[:at] + draw(TOKENS) + data[at:]
        case _:
            return data[:at] + data[max(0, at - draw(st.integers(1, 40))) :]


def write(document: Any) -> bytes:
    """As JSON, with what is deeper or wider than a draft can hold put in where it says so."""
    text = json.dumps(document).encode()
    return text.replace(b'"@deep@"', b"[" * 900 + b"]" * 900).replace(b'"@wide@"', b"[" + b"0," * 3000 + b"0]")


@dataclass(frozen=True)
class Craft:
    """What the tests of both transports share."""

    drafts: st.SearchStrategy[Draft]
    spoil: Callable[[st.DrawFn, Any], Any]
    damage: Callable[[st.DrawFn, bytes], bytes]
    write: Callable[[Any], bytes]
    models: dict[str, dict[str, tuple[str, list[int] | None]]]


@pytest.fixture(scope="session")
def craft() -> Craft:
    return Craft(drafts(), spoil, damage, write, MODELS)


class Counted:
    """What the cases came to; printed at the end, for `-s`."""

    def __init__(self) -> None:
        self.outcomes: collections.Counter[str] = collections.Counter()
        self.slowest = 0.0
        self._started = time.monotonic()

    def add(self, outcome: str, seconds: float) -> None:
        self.outcomes[outcome] += 1
        self.slowest = max(self.slowest, seconds)

    def __str__(self) -> str:
        seconds = time.monotonic() - self._started
        return f"{self.outcomes.total()} cases in {seconds:.0f} s, {dict(self.outcomes)}, slowest {self.slowest:.3f} s"


@pytest.fixture
def counted(request: pytest.FixtureRequest) -> Iterator[Counted]:
    counted = Counted()
    yield counted
    print(f"\n{request.node.name}: {counted}")


@pytest.fixture(scope="module")
def server(served: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("fuzz")
    for model, inputs in MODELS.items():
        _write(folder / model / "1", inputs)
    return served("", HALDANE_MODEL_REPOSITORY=str(folder), HALDANE_REQUEST_BYTES=str(REQUEST_BYTES))


def _write(folder: Path, inputs: dict[str, tuple[str, list[int] | None]]) -> None:
    def info(name: str, datatype: str, dims: list[int] | None) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, ONNX[datatype], None if dims is None else ["N", *dims])

    graph = helper.make_graph(
        [helper.make_node("Identity", [name], [f"{name}_"]) for name in inputs],
        "g",
        [info(name, *kind) for name, kind in inputs.items()],
        [info(f"{name}_", *kind) for name, kind in inputs.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    folder.mkdir(parents=True)
    (folder / "model.onnx").write_bytes(model.SerializeToString())
