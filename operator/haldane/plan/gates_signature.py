"""What a model takes and gives, as its runtime tells it, and whether one version may take the place of another.

Clients were written for what serves now. So the question is one-sided: does everything that they send and read still work?
A new version may take more (an axis that was fixed is free now) and give more (another output), never less.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

DYNAMIC = -1
"""How the Open Inference Protocol writes a dimension that may have any size."""
LONGEST_TEXT = 8192
"""Characters of a signature that are kept in status; of a longer one the pods are asked each time."""
SHOWN = 5
"""Differences that are told one by one."""
_LONGEST_NAME = 80
_MOST_AXES = 16


@dataclass(frozen=True)
class Tensor:
    """One input or output. An empty shape is a scalar or a shape that the model does not say: nothing is known of it."""

    name: str
    datatype: str
    shape: tuple[int, ...]

    def __str__(self) -> str:
        return f"{shortened(self.datatype)} {shape_text(self.shape)}"


@dataclass(frozen=True)
class Signature:
    """Inputs and outputs of a model, in its own order."""

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]


def shortened(text: str) -> str:
    """A name as it is told to people: what a pod says may be of any length."""
    return text if len(text) <= _LONGEST_NAME else f"{text[:_LONGEST_NAME]}…"


def shape_text(shape: Sequence[int]) -> str:
    """A shape as it is told to people, its first axes where it has very many."""
    more = ",…" if len(shape) > _MOST_AXES else ""
    return f"[{','.join(str(size) for size in shape[:_MOST_AXES])}{more}]"


def read(document: Any) -> Signature | None:
    """The signature in the answer to `GET /v2/models/{model}`; None when it tells none.

    Sizes may be numbers in quotes, as gRPC's JSON form writes them. A model without inputs or outputs tells nothing either:
    some servers answer so for models that they know nothing of.
    """
    try:
        found = Signature(_tensors(document["inputs"]), _tensors(document["outputs"]))
    except (KeyError, TypeError, ValueError):
        return None
    return found if found.inputs and found.outputs else None


def to_text(signature: Signature) -> str | None:
    """One line for status; None for a signature that is too long for it."""
    both = [[[t.name, t.datatype, list(t.shape)] for t in part] for part in (signature.inputs, signature.outputs)]
    text = json.dumps(both, separators=(",", ":"), ensure_ascii=False)
    return text if len(text) <= LONGEST_TEXT else None


def from_text(text: str | None) -> Signature | None:
    """Read it back; None for none, and for what another version wrote."""
    try:
        inputs, outputs = json.loads(text or "")
        made = [tuple(Tensor(str(n), str(d), tuple(map(int, s))) for n, d, s in part) for part in (inputs, outputs)]
    except (ValueError, TypeError):
        return None
    return Signature(*made)


def differences(stable: Signature, candidate: Signature, version: str) -> list[str]:
    """What breaks clients of stable's `version`, each as a clause; empty when nothing does.

    Inputs: every one must be there with its type and rank, no other may be demanded, and an axis may only be freed. Outputs:
    every one must be there with its type and rank; another one is no harm, and of an axis only two different sizes are a
    contradiction, for exporters write a free axis where they do not know the size.
    """
    found = _missing("input", stable.inputs, candidate.inputs, version)
    known = {tensor.name for tensor in stable.inputs}
    found += [
        f"input {_quoted(tensor.name)} ({tensor}) is demanded here and unknown in {version}"
        for tensor in candidate.inputs
        if tensor.name not in known
    ]
    found += _changed("input", stable.inputs, candidate.inputs, version)
    found += _missing("output", stable.outputs, candidate.outputs, version)
    found += _changed("output", stable.outputs, candidate.outputs, version)
    return found


def told(found: Sequence[str]) -> str:
    """Differences as one clause of bounded length."""
    more = f"; and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
    return "; ".join(found[:SHOWN]) + more


def fits(promised: Tensor, shape: Sequence[int]) -> bool:
    """Whether an answer of this shape is what clients of a model with this output expect."""
    if not promised.shape:
        return True
    return len(promised.shape) == len(shape) and all(
        size in (DYNAMIC, got) for size, got in zip(promised.shape, shape, strict=True)
    )


def takes(model: Signature, inputs: Sequence[Mapping[str, Any]]) -> bool:
    """Whether clients of this model may send these inputs of the protocol: the same names, each of a shape that fits."""
    known = {tensor.name: tensor for tensor in model.inputs}
    shapes = {str(one.get("name")): one.get("shape") or () for one in inputs}
    return shapes.keys() == known.keys() and all(fits(known[name], shape) for name, shape in shapes.items())


def _tensors(documents: Any) -> tuple[Tensor, ...]:
    return tuple(
        Tensor(str(one["name"]), str(one["datatype"]), tuple(max(DYNAMIC, int(size)) for size in one["shape"]))
        for one in documents
    )


def _missing(kind: str, stable: Sequence[Tensor], candidate: Sequence[Tensor], version: str) -> list[str]:
    here = {tensor.name for tensor in candidate}
    return [
        f"{kind} {_quoted(tensor.name)} is {tensor} in {version} and missing here"
        for tensor in stable
        if tensor.name not in here
    ]


def _changed(kind: str, stable: Sequence[Tensor], candidate: Sequence[Tensor], version: str) -> list[str]:
    here: Mapping[str, Tensor] = {tensor.name: tensor for tensor in candidate}
    return [
        f"{kind} {_quoted(tensor.name)} is {tensor} in {version} and {here[tensor.name]} here"
        for tensor in stable
        if tensor.name in here and not _replaces(kind, tensor, here[tensor.name])
    ]


def _replaces(kind: str, old: Tensor, new: Tensor) -> bool:
    if old.datatype != new.datatype:
        return False
    if not old.shape or not new.shape:
        return True
    if len(old.shape) != len(new.shape):
        return False
    pairs = zip(old.shape, new.shape, strict=True)
    if kind == "input":
        return all(after in (DYNAMIC, before) for before, after in pairs)
    return all(before == after or DYNAMIC in (before, after) for before, after in pairs)


def _quoted(name: str) -> str:
    return f'"{shortened(name)}"'
