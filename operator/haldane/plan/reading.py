"""Makes what it can of a spec that this operator cannot read: what runs goes on to be judged, and goes back when it must.

A field that a newer release knows is set aside, and the rest of the spec counts. A part that is plainly wrong is replaced by
the same part of the last spec that was read whole, which one of the children keeps: a process that has just started knows it, too.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from haldane.api.spec import ModelDeploymentSpec
from haldane.api.v1alpha1 import GROUP, ModelDeployment
from haldane.plan.observed import Event

Manifest = dict[str, Any]

KEPT = f"{GROUP}/spec"
"""Annotation of the ControllerRevision of stable, and of the one before: `PARTS` of the last spec that was read whole, as JSON."""
PARTS = ("scaling", "traffic", "rollout")
LARGEST_KEPT = 200_000
"""Bytes: the annotations of an object may have 256 KiB together."""
_UNKNOWN = "extra_forbidden"
_REVISION = ("model", "runtime")
_LIMITS = frozenset({"max", "min", "maxIncrease", "abort"})
_NO_MODEL = {"uri": "s3://unreadable/model"}
_UNHURRIED = "24h"
"""Where no deadline can be read: none is made up that could end what runs."""


@dataclass(frozen=True)
class Reading:
    """A ModelDeployment, and how much of its spec was read."""

    md: ModelDeployment
    kept: str | None
    """What `KEPT` is to hold for the time in which the spec cannot be read; None when there is nothing, or too much."""
    flaw: str | None = None
    """What was not read, as clauses that name the fields; None when all was."""
    names_revision: bool = True
    """Whether the model and how it is run were read whole: otherwise nobody knows which revision is asked for."""

    def asks_for(self, revision: str, *known: str | None) -> bool:
        """Whether the spec is to be followed to a revision: with a flaw only to one that has a part already."""
        return self.flaw is None or (self.names_revision and revision in known)


def read(body: Manifest, children: Iterable[Manifest] = ()) -> Reading:
    """Read an object as the API server gave it; `children` may keep what its spec said before.

    Raises pydantic.ValidationError when nothing can be made of it: metadata or status are unreadable, or a part of the
    spec by which requests reach the pods that serve, and nobody knows what it was.
    """
    try:
        md = ModelDeployment.from_wire(body)
    except ValidationError as error:
        return _salvaged(body, error, _kept(body, children))
    parts = {part: getattr(md.spec, part).to_wire() for part in PARTS}
    kept = json.dumps(parts, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return Reading(md, kept if len(kept.encode(errors="replace")) <= LARGEST_KEPT else None)


def faults(error: ValidationError) -> str:
    """What is wrong, each with the path of its field; what this operator does not know comes last, together."""
    wrong, unknown = [], []
    for detail in _details(error):
        path = ".".join(str(part) for part in detail["loc"])
        if detail["type"] == _UNKNOWN:
            unknown.append(path)
        else:
            wrong.append(f"{path}: {str(detail['msg']).removeprefix('Value error, ')}")
    if unknown:
        wrong.append(f"this operator does not know {', '.join(unknown)}: take it out, or upgrade the operator")
    return "; ".join(wrong)


def flaw_events(flaw: str | None, told: Iterable[str]) -> tuple[Event, ...]:
    """A Warning for a flaw that is not in what the conditions told before."""
    if flaw is None or any(flaw in message for message in told):
        return ()
    return (Event("Warning", "InvalidSpec", f"The spec cannot be used: {flaw}. Correct it."),)


def _details(error: ValidationError) -> list[Any]:
    return error.errors(include_url=False, include_context=False, include_input=False)


def _kept(body: Manifest, children: Iterable[Manifest]) -> str | None:
    """The annotation, by preference of the revision that is stable: that of another is from before."""
    stable = ((body.get("status") or {}).get("stable") or {}).get("revision")
    texts = {
        child["metadata"]["name"]: text
        for child in children
        if child["kind"] == "ControllerRevision" and (text := (child["metadata"].get("annotations") or {}).get(KEPT))
    }
    return texts.get(f"{body['metadata']['name']}-{stable}") or next(iter(texts.values()), None)


def _salvaged(body: Manifest, error: ValidationError, kept: str | None) -> Reading:
    wrong = _details(error)
    if any(len(detail["loc"]) < 2 or detail["loc"][0] != "spec" for detail in wrong):
        raise error
    spec, broken = _cleared(body["spec"])
    before, broken_before = _cleared({"model": _NO_MODEL, **_parsed(kept)})
    for part in {str(path[0]) for path in broken}:
        found = spec.pop(part, None)
        if part in PARTS and part in before and not any(path[0] == part for path in broken_before):
            spec[part] = before[part]
        elif part == "rollout":
            weight = ((body.get("status") or {}).get("rollout") or {}).get("weight") or 0
            spec[part] = _standing_still(
                found, {path[1] for path in broken if path[0] == part and len(path) > 1}, weight
            )
        elif part not in _REVISION:
            raise error
    spec.setdefault("model", _NO_MODEL)
    names_revision = not any(detail["loc"][1] in _REVISION for detail in wrong)
    return Reading(ModelDeployment.from_wire({**body, "spec": spec}), kept, faults(error), names_revision)


def _cleared(spec: Manifest) -> tuple[Manifest, list[Sequence[int | str]]]:
    """The spec without what nobody knows, and the paths of what is wrong then."""
    spec = deepcopy(spec)
    for detail in _wrong(spec):
        if detail["type"] == _UNKNOWN:
            _remove(spec, detail["loc"])
    _disarm(spec)
    return spec, [detail["loc"] for detail in _wrong(spec)]


def _wrong(spec: Manifest) -> list[Any]:
    try:
        ModelDeploymentSpec.model_validate(spec)
    except ValidationError as error:
        return _details(error)
    return []


def _remove(spec: Manifest, path: Sequence[int | str]) -> None:
    *parents, name = path
    holder: Any = spec
    try:
        for parent in parents:
            holder = holder[parent]
        del holder[name]
    except LookupError:
        return  # it is not where it is told of: then it stays, and its part is taken for wrong


def _disarm(spec: Manifest) -> None:
    """Take away the kind of a check that is left without a limit: without any it would pass, of no kind it is never decided."""
    rollout = spec.get("rollout")
    checks = rollout.get("checks") if isinstance(rollout, dict) else None
    for check in checks if isinstance(checks, list) else ():
        if not isinstance(check, dict):
            continue
        for kind in [name for name, rule in check.items() if isinstance(rule, dict) and not _LIMITS & rule.keys()]:
            del check[kind]


def _parsed(kept: str | None) -> Manifest:
    try:
        parts = json.loads(kept or "{}")
    except ValueError:
        return {}
    return {part: parts[part] for part in PARTS if part in parts} if isinstance(parts, dict) else {}


def _standing_still(rollout: Any, broken: set[int | str], weight: int) -> Manifest:
    """A rollout that stays at its weight until a person says more, judged by what can be read of its rules."""
    rollout = rollout if isinstance(rollout, dict) else {}
    readable = {name: value for name, value in rollout.items() if name not in {*broken, "strategy", "steps"}}
    return {
        "progressDeadline": _UNHURRIED,
        **readable,
        "steps": [{"weight": weight, "hold": "0s", "approval": True}],
    }
