from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from haldane.plan.strategic_merge import MERGE_KEYS, PodTemplateError, merge

CASES: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = {
    "scalars are replaced, others stay": ({"a": 1, "b": 2}, {"a": 3}, {"a": 3, "b": 2}),
    "objects merge": ({"a": {"x": 1, "y": 2}}, {"a": {"y": 3}}, {"a": {"x": 1, "y": 3}}),
    "null deletes": ({"a": {"x": 1, "y": 2}}, {"a": {"y": None}}, {"a": {"x": 1}}),
    "null of nothing is nothing": ({}, {"a": None, "b": {"c": None}}, {"b": {}}),
    "unknown fields survive": ({}, {"later": {"v": [{"w": 1}]}}, {"later": {"v": [{"w": 1}]}}),
    "atomic lists are replaced": ({"tolerations": [{"key": "a"}]}, {"tolerations": [{"key": "b"}]}, {"tolerations": [{"key": "b"}]}),
    "containers merge by name": (
        {"containers": [{"name": "runtime", "image": "r"}]},
        {"containers": [{"name": "tap"}, {"name": "runtime", "tty": True}]},
        {"containers": [{"name": "runtime", "image": "r", "tty": True}, {"name": "tap"}]},
    ),
    "ports merge by containerPort": (
        {"ports": [{"containerPort": 8080, "name": "http"}]},
        {"ports": [{"containerPort": 8080, "hostPort": 80}, {"containerPort": 9}]},
        {"ports": [{"containerPort": 8080, "name": "http", "hostPort": 80}, {"containerPort": 9}]},
    ),
    "volumeMounts merge by mountPath": (
        {"volumeMounts": [{"mountPath": "/tmp", "name": "tmp"}]},
        {"volumeMounts": [{"mountPath": "/tmp", "name": "disk"}]},
        {"volumeMounts": [{"mountPath": "/tmp", "name": "disk"}]},
    ),
    "$patch: delete takes an item": (
        {"env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]},
        {"env": [{"name": "A", "$patch": "delete"}]},
        {"env": [{"name": "B", "value": "2"}]},
    ),
    "$patch: delete of an item that is not there": ({}, {"env": [{"name": "A", "$patch": "delete"}]}, {"env": []}),
    "$patch: delete takes an object": ({"lifecycle": {"preStop": {}}}, {"lifecycle": {"$patch": "delete"}}, {}),
    "$patch: replace of an object": ({"a": {"x": 1}}, {"a": {"$patch": "replace", "y": 2}}, {"a": {"y": 2}}),
    "$patch: replace of a list": (
        {"env": [{"name": "A", "value": "1"}]},
        {"env": [{"$patch": "replace"}, {"name": "B", "value": "2"}]},
        {"env": [{"name": "B", "value": "2"}]},
    ),
    "$patch: replace of an item": (
        {"env": [{"name": "A", "value": "1", "x": 1}]},
        {"env": [{"$patch": "replace", "name": "A", "value": "2"}]},
        {"env": [{"name": "A", "value": "2"}]},
    ),
    "$retainKeys": ({"s": {"type": "a", "x": 1}}, {"s": {"$retainKeys": ["type"], "type": "b"}}, {"s": {"type": "b"}}),
    "orders are not kept": ({}, {"$setElementOrder/env": [{"name": "A"}], "env": [{"name": "A"}]}, {"env": [{"name": "A"}]}),
    "a volume has one source": (
        {"volumes": [{"name": "cache", "emptyDir": {}}, {"name": "tmp", "emptyDir": {}}]},
        {"volumes": [{"name": "cache", "persistentVolumeClaim": {"claimName": "c"}}]},
        {"volumes": [{"name": "cache", "persistentVolumeClaim": {"claimName": "c"}}, {"name": "tmp", "emptyDir": {}}]},
    ),
    "the same source merges": (
        {"volumes": [{"name": "cache", "emptyDir": {"medium": "Memory"}}]},
        {"volumes": [{"name": "cache", "emptyDir": {"sizeLimit": "1Gi"}}]},
        {"volumes": [{"name": "cache", "emptyDir": {"medium": "Memory", "sizeLimit": "1Gi"}}]},
    ),
    "a probe has one handler": (
        {"livenessProbe": {"httpGet": {"path": "/health"}, "periodSeconds": 10}},
        {"livenessProbe": {"exec": {"command": ["true"]}}},
        {"livenessProbe": {"exec": {"command": ["true"]}, "periodSeconds": 10}},
    ),
    "a variable has one value": (
        {"env": [{"name": "A", "value": "1"}]},
        {"env": [{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]},
        {"env": [{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]},
    ),
    "a field that is called like a list but is none": (
        {"annotations": {"ports": "1"}}, {"annotations": {"ports": "2"}}, {"annotations": {"ports": "2"}},
    ),
}  # fmt: skip


@pytest.mark.parametrize(("base", "patch", "expected"), CASES.values(), ids=CASES)
def test_merges(base: dict[str, Any], patch: dict[str, Any], expected: dict[str, Any]) -> None:
    assert merge(base, patch) == expected


@pytest.mark.parametrize(
    ("base", "patch", "sentence"),
    [
        ({}, {"containers": [{"image": "x"}]}, "podTemplate.containers[0] needs name"),
        ({}, {"containers": [{"name": None}]}, "podTemplate.containers[0] needs name"),
        ({}, {"spec": {"containers": ["x"]}}, "podTemplate.spec.containers[0] must be an object"),
        ({"containers": []}, {"containers": {"name": "x"}}, "podTemplate.containers must be a list"),
        ({"containers": []}, {"containers": "x"}, "podTemplate.containers must be a list"),
        ({"spec": {}}, {"spec": "x"}, "podTemplate.spec must be an object"),
        ({"spec": {}}, {"spec": ["x"]}, "podTemplate.spec must be an object"),
        ({"a": 1}, {"a": {"b": 2}}, "podTemplate.a must not be an object"),
        ({}, {"$patch": "remove"}, "podTemplate has the directive $patch: remove, which is not known here"),
        ({}, {"$deleteFromPrimitiveList/finalizers": ["x"]}, "write $patch: delete"),
    ],
)
def test_names_the_field_that_cannot_be_merged(base: dict[str, Any], patch: dict[str, Any], sentence: str) -> None:
    with pytest.raises(PodTemplateError) as raised:
        merge(base, patch)
    assert sentence in str(raised.value)


scalars = st.one_of(st.booleans(), st.integers(-3, 3), st.sampled_from(["", "x", "y"]))
names = st.sampled_from(["a", "b", "c"])


@st.composite
def objects(draw: st.DrawFn, nullable: bool, depth: int = 2) -> dict[str, Any]:
    """Trees with one shape for each field name, as an API has: plain fields, objects, keyed and atomic lists."""
    children = objects(nullable, depth - 1) if depth else st.just({})

    def keyed(key: str) -> st.SearchStrategy[list[dict[str, Any]]]:
        items = st.tuples(names, children).map(lambda pair: {**pair[1], key: pair[0]})
        return st.lists(items, max_size=2, unique_by=lambda item: item[key])

    fields: dict[str, st.SearchStrategy[Any]] = {
        "image": scalars,
        "unheardOf": scalars,
        "spec": children,
        "httpGet": children,
        "exec": children,
        "containers": keyed("name"),
        "volumes": keyed("name"),
        "volumeMounts": keyed("mountPath"),
        "args": st.lists(scalars, max_size=2),
    }
    chosen = draw(st.lists(st.sampled_from(sorted(fields)), max_size=4, unique=True))
    return {name: None if nullable and draw(st.integers(0, 4)) == 0 else draw(fields[name]) for name in chosen}


@given(objects(nullable=False))
def test_an_empty_patch_changes_nothing(base: dict[str, Any]) -> None:
    assert merge(base, {}) == base


@given(objects(nullable=False), objects(nullable=True))
def test_merging_twice_is_merging_once(base: dict[str, Any], patch: dict[str, Any]) -> None:
    once = merge(base, patch)
    assert merge(once, patch) == once


@given(objects(nullable=False), objects(nullable=True))
def test_changes_neither_side(base: dict[str, Any], patch: dict[str, Any]) -> None:
    before = deepcopy((base, patch))
    made = merge(base, patch)
    _poison(made)
    assert (base, patch) == before


@given(objects(nullable=False), objects(nullable=False))
def test_everything_that_the_patch_says_holds(base: dict[str, Any], patch: dict[str, Any]) -> None:
    assert _holds(merge(base, patch), patch)


@given(objects(nullable=False), objects(nullable=True))
def test_leaves_no_null_and_no_directive(base: dict[str, Any], patch: dict[str, Any]) -> None:
    assert not any(value is None or key.startswith("$") for key, value in _fields(merge(base, patch)))


@given(objects(nullable=False), objects(nullable=True))
def test_what_the_patch_does_not_name_stays(base: dict[str, Any], patch: dict[str, Any]) -> None:
    made = merge(base, patch)
    handlers = {"httpGet", "exec"}
    for key, value in base.items():
        if key not in patch and not (key in handlers and handlers & patch.keys()):
            assert made[key] == value


def _holds(made: Any, patch: Any, key: str = "") -> bool:
    if isinstance(patch, dict):
        return isinstance(made, dict) and all(name in made and _holds(made[name], patch[name], name) for name in patch)
    if isinstance(patch, list) and key in MERGE_KEYS:
        by_name = {item[MERGE_KEYS[key]]: item for item in made}
        return all(_holds(by_name[item[MERGE_KEYS[key]]], item) for item in patch)
    return bool(made == patch)


def _fields(tree: Any) -> list[tuple[str, Any]]:
    if isinstance(tree, dict):
        return [*tree.items(), *(field for value in tree.values() for field in _fields(value))]
    return [field for value in tree for field in _fields(value)] if isinstance(tree, list) else []


def _poison(tree: Any) -> None:
    for value in list(tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else []):
        _poison(value)
    if isinstance(tree, dict):
        tree["poison"] = True
    elif isinstance(tree, list):
        tree.append("poison")
