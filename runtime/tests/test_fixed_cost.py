"""What the graph alone shows of a run's cost: fixed by the shapes of its inputs, or anything."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from haldane_runtime.engine.fixedcost import FIXED, SHAPED_BY, has_fixed_cost

Node = helper.make_node
FLOAT, INT64, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL
ML, MICROSOFT = "ai.onnx.ml", "com.microsoft"


def info(name: str, kind: int = FLOAT) -> Any:
    return helper.make_tensor_value_info(name, kind, None)


def whole(name: str, *values: int) -> Any:
    return numpy_helper.from_array(np.array(values, np.int64), name)


def branch(*nodes: Any) -> Any:
    return helper.make_graph(list(nodes), "branch", [], [info("z")])


@pytest.fixture
def judged(tmp_path: Path) -> Callable[..., bool]:
    def judged(*nodes: Any, functions: Any = (), domains: Any = ("", ML, MICROSOFT)) -> bool:
        graph = helper.make_graph(list(nodes), "g", [info("x"), info("n", INT64)], [info("y")], [whole("two", 2, -1)])
        opsets = [helper.make_opsetid(domain, 1 if domain else 17) for domain in domains]
        model = helper.make_model(graph, opset_imports=opsets, functions=list(functions))
        (path := tmp_path / "model.onnx").write_bytes(model.SerializeToString())
        return has_fixed_cost(path)

    return judged


LOOP = helper.make_graph(
    [Node("Identity", ["go"], ["on"])], "body", [info("i", INT64), info("go", BOOL)], [info("on", BOOL)]
)


@pytest.mark.parametrize(
    ("nodes", "fixed"),
    [
        ([Node("MatMul", ["x", "two"], ["h"]), Node("Softmax", ["h"], ["y"])], True),
        ([Node("Conv", ["x", "two"], ["h"]), Node("Relu", ["h"], ["y"])], True),
        ([Node("TreeEnsembleClassifier", ["x"], ["l", "p"], domain=ML), Node("ZipMap", ["p"], ["y"], domain=ML)], True),
        ([Node("SkipLayerNormalization", ["x", "two", "two"], ["y"], domain=MICROSOFT)], True),
        ([Node("Relu", ["x"], ["y"], domain="ai.onnx")], True),
        # A shape out of constants and shapes, as exporters of transformers write it
        ([Node("Reshape", ["x", "two"], ["y"])], True),
        ([Node("Constant", [], ["s"], value_ints=[2, -1]), Node("Reshape", ["x", "s"], ["y"])], True),
        (
            [
                Node("Shape", ["x"], ["s"]),
                Node("Gather", ["s", "two"], ["d"]),
                Node("Concat", ["d", "two"], ["t"], axis=0),
                Node("Reshape", ["x", "t"], ["y"]),
            ],
            True,
        ),
        ([Node("Slice", ["x", "two", "two", "", "two"], ["y"])], True),
        ([Node("Resize", ["x", "", "two"], ["y"])], True),
        ([Node("ReduceSum", ["x"], ["y"])], True),
        # One out of values
        ([Node("Expand", ["x", "n"], ["y"])], False),
        ([Node("Reshape", ["x", "n"], ["y"])], False),
        ([Node("Range", ["two", "n", "two"], ["y"])], False),
        ([Node("Tile", ["x", "n"], ["y"])], False),
        ([Node("ConstantOfShape", ["n"], ["y"])], False),
        ([Node("Pad", ["x", "n"], ["y"])], False),
        ([Node("TopK", ["x", "n"], ["y", "i"])], False),
        ([Node("OneHot", ["x", "n", "two"], ["y"])], False),
        ([Node("Slice", ["x", "two", "n"], ["y"])], False),
        ([Node("Resize", ["x", "", "", "n"], ["y"])], False),
        ([Node("Shape", ["x"], ["s"]), Node("Add", ["s", "n"], ["t"]), Node("Expand", ["x", "t"], ["y"])], False),
        # As much as there is to find
        ([Node("NonZero", ["x"], ["y"])], False),
        ([Node("Unique", ["x"], ["y"])], False),
        ([Node("Compress", ["x", "n"], ["y"])], False),
        ([Node("NonMaxSuppression", ["x", "x", "n"], ["y"])], False),
        ([Node("TfIdfVectorizer", ["x"], ["y"])], False),
        ([Node("StringNormalizer", ["x"], ["y"])], False),
        # As many rounds as there are
        ([Node("Loop", ["n", ""], ["y"], body=LOOP)], False),
        (
            [Node("If", ["x"], ["y"], then_branch=branch(Node("Relu", ["x"], ["z"])), else_branch=branch())],
            False,
        ),
        # Somebody's own
        ([Node("Relu", ["x"], ["y"], domain="com.acme")], False),
        ([Node("Relu", ["x"], ["h"]), Node("Tokenizer", ["h"], ["y"], domain=MICROSOFT)], False),
    ],
    ids=lambda value: value if isinstance(value, bool) else "-".join(node.op_type for node in value),
)
def test_what_the_operators_show(judged: Callable[..., bool], nodes: list[Any], fixed: bool) -> None:
    assert judged(*nodes) is fixed


def function(name: str, *nodes: Any) -> Any:
    return helper.make_function(
        "acme", name, ["a", "b"], ["c"], nodes, [helper.make_opsetid("", 17), helper.make_opsetid("acme", 1)]
    )


def test_a_models_own_functions_are_looked_into(judged: Callable[..., bool]) -> None:
    quick = function("quick", Node("Add", ["a", "b"], ["c"]))
    slow = function("slow", Node("Expand", ["a", "b"], ["c"]))
    within = function("within", Node("slow", ["a", "b"], ["c"], domain="acme"))
    itself = function("itself", Node("itself", ["a", "b"], ["c"], domain="acme"))
    many = [
        function(
            f"f{level}",
            *(Node(f"f{level + 1}", ["a", "b"], [f"c{turn}"], domain="acme") for turn in range(3)),
            Node("Identity", ["c0"], ["c"]),
        )
        for level in range(40)
    ]

    def fixed(name: str, *functions: Any) -> bool:
        return judged(Node(name, ["x", "n"], ["y"], domain="acme"), functions=functions, domains=("", "acme"))

    assert fixed("quick", quick)
    assert not fixed("slow", slow)
    assert not fixed("within", within, slow)
    assert not fixed("itself", itself)
    assert fixed("f0", *many, function("f40", Node("Add", ["a", "b"], ["c"])))


def test_weights_are_not_read(tmp_path: Path, judged: Callable[..., bool], models: Any) -> None:
    assert has_fixed_cost(models.double())
    assert has_fixed_cost(models.lookup())
    assert has_fixed_cost(models.external("beside", "weights.bin"))
    assert not has_fixed_cost(models.work())


@pytest.mark.parametrize("content", [b"", b"this is no model", b"\x3a\xff\xff\xff\xff\x7f", b"\x0b" * 9, b"\xff" * 40])
def test_what_is_no_model_shows_nothing_and_breaks_nothing(tmp_path: Path, content: bytes) -> None:
    (path := tmp_path / "model.onnx").write_bytes(content)
    assert not has_fixed_cost(path)
    assert not has_fixed_cost(tmp_path / "absent.onnx")


def test_every_truncation_is_survived(models: Any, tmp_path: Path) -> None:
    whole_model = models.double().read_bytes()
    path = tmp_path / "model.onnx"
    for length in range(len(whole_model)):
        path.write_bytes(whole_model[:length])
        has_fixed_cost(path)


def test_the_operators_named_exist() -> None:
    standard = {schema.name for schema in onnx.defs.get_all_schemas() if schema.domain == ""}
    learners = {schema.name for schema in onnx.defs.get_all_schemas() if schema.domain == ML}
    # What newer versions of ONNX know, and what ONNX Runtime's optimiser adds to its domain.
    newer = {"SimplifiedLayerNormalization", "TreeEnsemble", "Swish"}
    assert FIXED[""] | SHAPED_BY.keys() <= standard | newer
    assert FIXED[ML] <= learners | newer
    assert not FIXED[""] & SHAPED_BY.keys()
