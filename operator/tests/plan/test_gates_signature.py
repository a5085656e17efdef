"""Whether one version may take the place of another, as those see it who send it requests."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from haldane.plan.gates_signature import (
    LONGEST_TEXT,
    Signature,
    Tensor,
    differences,
    fits,
    from_text,
    read,
    to_text,
    told,
)

OLD = "version 1"


def signature(*tensors: str) -> Signature:
    """`x FP32 -1,128` is an input; after a `>` come the outputs."""
    made: tuple[list[Tensor], list[Tensor]] = ([], [])
    for text in tensors:
        name, datatype, *sizes = text.removeprefix(">").split()
        shape = tuple(int(size) for size in sizes[0].split(",")) if sizes else ()
        made[text.startswith(">")].append(Tensor(name, datatype, shape))
    return Signature(tuple(made[0]), tuple(made[1]))


COMPARED = [
    ("the same", ["x FP32 -1,128", ">y FP32 -1,10"], ["x FP32 -1,128", ">y FP32 -1,10"], []),
    (
        "a size of an input",
        ["x FP32 -1,128", ">y FP32 -1"],
        ["x FP32 -1,64", ">y FP32 -1"],
        ['input "x" is FP32 [-1,128] in version 1 and FP32 [-1,64] here'],
    ),
    (
        "a type of an input",
        ["x FP32 -1,2", ">y FP32 -1"],
        ["x FP64 -1,2", ">y FP32 -1"],
        ['input "x" is FP32 [-1,2] in version 1 and FP64 [-1,2] here'],
    ),
    (
        "a rank",
        ["x FP32 -1,2", ">y FP32 -1"],
        ["x FP32 -1,2,1", ">y FP32 -1,1"],
        [
            'input "x" is FP32 [-1,2] in version 1 and FP32 [-1,2,1] here',
            'output "y" is FP32 [-1] in version 1 and FP32 [-1,1] here',
        ],
    ),
    ("an axis that is free now", ["x FP32 1,128", ">y FP32 1"], ["x FP32 -1,128", ">y FP32 1"], []),
    (
        "an axis that is fixed now",
        ["x FP32 -1,128", ">y FP32 -1"],
        ["x FP32 1,128", ">y FP32 1"],
        ['input "x" is FP32 [-1,128] in version 1 and FP32 [1,128] here'],
    ),
    (
        "an input that went",
        ["x FP32 2", "z INT64 1", ">y FP32 1"],
        ["x FP32 2", ">y FP32 1"],
        ['input "z" is INT64 [1] in version 1 and missing here'],
    ),
    (
        "an input that nobody sends yet",
        ["x FP32 2", ">y FP32 1"],
        ["x FP32 2", "z INT64 1", ">y FP32 1"],
        ['input "z" (INT64 [1]) is demanded here and unknown in version 1'],
    ),
    (
        "an input of another name",
        ["x FP32 2", ">y FP32 1"],
        ["X FP32 2", ">y FP32 1"],
        [
            'input "x" is FP32 [2] in version 1 and missing here',
            'input "X" (FP32 [2]) is demanded here and unknown in version 1',
        ],
    ),
    ("inputs in another order", ["x FP32 2", "z INT64 1", ">y FP32 1"], ["z INT64 1", "x FP32 2", ">y FP32 1"], []),
    ("another output", ["x FP32 2", ">y FP32 1"], ["x FP32 2", ">y FP32 1", ">why BYTES -1"], []),
    (
        "an output that went",
        ["x FP32 2", ">y FP32 1", ">p FP32 1,10"],
        ["x FP32 2", ">y FP32 1"],
        ['output "p" is FP32 [1,10] in version 1 and missing here'],
    ),
    (
        "another number of classes",
        ["x FP32 2", ">p FP32 -1,10"],
        ["x FP32 2", ">p FP32 -1,12"],
        ['output "p" is FP32 [-1,10] in version 1 and FP32 [-1,12] here'],
    ),
    ("an output whose size is not written down", ["x FP32 2", ">p FP32 -1,10"], ["x FP32 2", ">p FP32 -1,-1"], []),
    ("an output whose size is written down now", ["x FP32 2", ">p FP32 -1,-1"], ["x FP32 2", ">p FP32 -1,10"], []),
    ("shapes that nobody knows", ["x FP32", ">p FP32 1"], ["x FP32 5", ">p FP32"], []),
    (
        "the type where the shape is unknown",
        ["x FP32", ">p FP32 1"],
        ["x BYTES", ">p FP32 1"],
        ['input "x" is FP32 [] in version 1 and BYTES [] here'],
    ),
]


@pytest.mark.parametrize(("stable", "candidate", "found"), [row[1:] for row in COMPARED], ids=[r[0] for r in COMPARED])
def test_differences(stable: list[str], candidate: list[str], found: list[str]) -> None:
    assert differences(signature(*stable), signature(*candidate), OLD) == found


SIZES = st.sampled_from([-1, 1, 2, 7])
TENSORS = st.builds(
    Tensor,
    st.sampled_from(["a", "b", "c"]),
    st.sampled_from(["FP32", "INT64"]),
    st.lists(SIZES, min_size=1, max_size=3).map(tuple),
)
SIDES = st.lists(TENSORS, min_size=1, max_size=3, unique_by=lambda tensor: tensor.name).map(tuple)
SIGNATURES = st.builds(Signature, SIDES, SIDES)


@given(SIGNATURES)
def test_a_version_may_replace_itself_and_is_read_back_as_it_was_kept(one: Signature) -> None:
    assert differences(one, one, OLD) == []
    assert from_text(to_text(one)) == one


def test_inputs_that_may_be_replaced_twice_may_be_replaced_at_once() -> None:
    every = [signature(f"x FP32 {one},{other}", ">y FP32 1") for one in (-1, 1, 2) for other in (-1, 1, 2)]
    may = {(a, b) for a in every for b in every if not differences(a, b, OLD)}
    assert all((a, d) in may for a, b in may for c, d in may if b == c)


@given(SIGNATURES, SIGNATURES, st.integers(1, 8))
def test_what_stable_takes_its_replacement_takes(stable: Signature, candidate: Signature, free: int) -> None:
    if differences(stable, candidate, OLD):
        return
    for tensor in stable.inputs:
        taken = next(each for each in candidate.inputs if each.name == tensor.name)
        assert fits(taken, [free if size < 0 else size for size in tensor.shape])
    assert {each.name for each in candidate.inputs} == {each.name for each in stable.inputs}
    assert {each.name for each in candidate.outputs} >= {each.name for each in stable.outputs}


@given(SIGNATURES, SIGNATURES)
def test_every_difference_names_its_tensor(stable: Signature, candidate: Signature) -> None:
    for clause in differences(stable, candidate, OLD):
        assert clause.split('"')[1] in "abc"
        assert clause.startswith(("input", "output"))


def test_many_differences_are_counted() -> None:
    found = [f"input {number}" for number in range(8)]
    assert told(found) == "input 0; input 1; input 2; input 3; input 4; and 3 more"
    assert told(found[:1]) == "input 0"


DOCUMENT: dict[str, Any] = {
    "name": "fraud",
    "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 64]}],
    "outputs": [{"name": "y", "datatype": "INT64", "shape": ["-1"]}],
}


def test_metadata_of_the_protocol_is_read_whether_sizes_are_quoted_or_not() -> None:
    assert read(DOCUMENT) == signature("x FP32 -1,64", ">y INT64 -1")


@pytest.mark.parametrize(
    "document",
    [
        None,
        [],
        "no JSON object",
        {},
        {**DOCUMENT, "inputs": []},
        {**DOCUMENT, "outputs": None},
        {**DOCUMENT, "inputs": [{"name": "x"}]},
        {**DOCUMENT, "inputs": [{"name": "x", "datatype": "FP32", "shape": ["many"]}]},
        {"model": {"ready": True}},
    ],
)
def test_metadata_that_tells_nothing(document: Any) -> None:
    assert read(document) is None


@pytest.mark.parametrize("text", [None, "", "-", "[]", "[[],[],[]]", '[[["x"]],[]]', "[[[1,2]],[]]", "7", "{}"])
def test_what_another_version_kept_is_no_signature(text: str | None) -> None:
    assert from_text(text) is None


def test_a_signature_that_is_too_long_is_not_kept() -> None:
    many = Signature(tuple(Tensor(f"column_{n}", "FP32", (-1, 1)) for n in range(1000)), (Tensor("y", "FP32", (1,)),))
    assert len(str(many)) > LONGEST_TEXT
    assert to_text(many) is None
