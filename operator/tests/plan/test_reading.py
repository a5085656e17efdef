"""What is made of a spec that cannot be read, with and without what was kept of the one before."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import ValidationError

from haldane.api.rollout import Step
from haldane.plan.reading import KEPT, LARGEST_KEPT, read

Body = dict[str, Any]

MODEL = {"uri": "s3://models/a", "version": "1"}
GOOD: Body = {
    "model": MODEL,
    "scaling": {"minReplicas": 3},
    "traffic": {"host": "a.example.com", "ingress": {}},
    "rollout": {"steps": [{"weight": 7, "hold": "1m"}], "checks": [{"name": "own", "errorRate": {"max": "1%"}}]},
}


def body(spec: Body, weight: int = 0) -> Body:
    return {
        "apiVersion": "haldane.dev/v1alpha1",
        "kind": "ModelDeployment",
        "metadata": {"name": "fraud", "namespace": "shop", "uid": "u", "generation": 1},
        "spec": spec,
        "status": {"stable": {"revision": "aaaa", "version": "1"}, "rollout": {"weight": weight}},
    }


def keeper(kept: str | None, revision: str = "aaaa") -> Body:
    annotations = {KEPT: kept} if kept else {}
    return {"kind": "ControllerRevision", "metadata": {"name": f"fraud-{revision}", "annotations": annotations}}


def test_what_can_be_read_is_kept_and_has_no_flaw() -> None:
    found = read(body(GOOD), [keeper("{}")])
    assert (found.flaw, found.names_revision, found.asks_for("new")) == (None, True, True)
    assert json.loads(found.kept or "")["rollout"]["steps"] == [{"weight": 7, "hold": "1m"}]
    assert "model" not in json.loads(found.kept or "")


def test_more_than_an_annotation_takes_is_not_kept() -> None:
    checks = [
        {"name": f"c{number}", "proportion": {"hits": "ß" * 4096, "total": "ß" * 4096, "max": "1%"}}
        for number in range(16)
    ]
    found = read(body({**GOOD, "rollout": {"checks": checks}}))
    assert LARGEST_KEPT < 16 * 8192 * 2
    assert (found.kept, found.flaw) == (None, None)


@pytest.mark.parametrize(
    ("spec", "path", "names_revision"),
    [
        ({**GOOD, "newField": {}}, "spec.newField", True),
        ({**GOOD, "rollout": {**GOOD["rollout"], "newField": 1}}, "spec.rollout.newField", True),
        ({**GOOD, "model": {**MODEL, "newField": 1}}, "spec.model.newField", False),
        ({**GOOD, "runtime": {"env": [{"name": "A", "nw": 1}]}}, "spec.runtime.env.0.nw", False),
    ],
)
def test_what_a_newer_release_knows_is_set_aside(spec: Body, path: str, names_revision: bool) -> None:
    found = read(body(spec))
    assert found.md.spec.model == read(body(GOOD)).md.spec.model
    assert found.md.spec.rollout == read(body(GOOD)).md.spec.rollout
    assert found.flaw == f"this operator does not know {path}: take it out, or upgrade the operator"
    assert found.names_revision is names_revision
    assert (found.asks_for("aaaa", "aaaa", None), found.asks_for("new", "aaaa")) == (names_revision, False)


def test_a_limit_that_nobody_knows_never_passes_by_having_none() -> None:
    checks: list[Body] = [
        {"name": "a", "errorRate": {"newLimit": "1%", "other": 1}},
        {"name": "b", "slo": {"max": "1%"}},
        {"name": "c", "errorRate": {"max": "1%", "newLimit": "1%"}},
    ]
    found = read(body({**GOOD, "rollout": {"checks": checks}})).md.spec.rollout.checks
    assert [check.to_wire() for check in found] == [
        {"name": "a"},
        {"name": "b"},
        {"name": "c", "errorRate": {"max": "1%"}},
    ]


BROKEN: list[tuple[str, Any]] = [
    ("scaling", {"minReplicas": "many"}),
    ("traffic", {"host": 5}),
    ("traffic", None),
    ("rollout", {"steps": []}),
    ("rollout", {"checks": ["a"], "newField": 1}),
]


@pytest.mark.parametrize(("part", "value"), BROKEN)
def test_a_part_that_is_wrong_is_what_it_was(part: str, value: Any) -> None:
    kept = read(body(GOOD)).kept
    edited = {**GOOD, "model": {**MODEL, "version": "2"}, part: value}
    found = read(body(edited), [keeper('{"scaling": {"minReplicas": 1}}', "old"), keeper(kept)])
    assert getattr(found.md.spec, part) == getattr(read(body(GOOD)).md.spec, part)
    assert (found.md.spec.model.version, found.kept, found.names_revision) == ("2", kept, True)
    assert found.flaw
    assert f"spec.{part}" in found.flaw


def test_what_was_kept_by_a_newer_release_is_read_as_far_as_it_goes() -> None:
    kept = json.dumps({"scaling": {"minReplicas": 3, "newField": 1}, "newPart": {}})
    assert read(body({**GOOD, "scaling": 5}), [keeper(kept)]).md.spec.scaling.min_replicas == 3


@pytest.mark.parametrize("kept", [None, "{", "[]", '{"rollout": 5}'])
def test_a_rollout_of_which_nothing_is_known_stays_at_its_weight(kept: str | None) -> None:
    rollout = {**GOOD["rollout"], "strategy": "Rainbow", "keepStableFor": "1m", "watchAfterPromotion": 5}
    found = read(body({**GOOD, "rollout": rollout}, weight=50), [keeper(kept)]).md.spec.rollout
    assert found.steps == [Step(weight=50, hold="0s", approval=True)]
    assert (found.checks[0].name, found.keep_stable_for, found.strategy) == ("own", "1m", None)
    assert read(body({**GOOD, "rollout": 5})).md.spec.rollout.checks[0].name == "errors"


@pytest.mark.parametrize(
    "broken",
    [
        {**body(GOOD), "spec": {**GOOD, "scaling": 5}},
        {**body(GOOD), "spec": {**GOOD, "traffic": 5}},
        {**body(GOOD), "spec": None},
        {**body({**GOOD, "newField": 1}), "status": {"rollout": {"phase": "Dreaming"}}},
    ],
)
def test_by_what_is_not_known_at_all_nothing_is_done(broken: Body) -> None:
    with pytest.raises(ValidationError):
        read(broken)
