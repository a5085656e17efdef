"""What the scenarios apply is what the API takes."""

from typing import Any

import pytest

from e2e.scenarios.manifest import deployment, merged
from haldane.api.spec import ModelDeploymentSpec


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, {"a": {"b": 1, "c": [1, 2]}}),
        ({"a": {"b": 2}}, {"a": {"b": 2, "c": [1, 2]}}),
        ({"a": {"c": [3]}}, {"a": {"b": 1, "c": [3]}}),
        ({"a": {"c": None}}, {"a": {"b": 1}}),
        ({"a": None, "d": {"e": 1}}, {"d": {"e": 1}}),
    ],
)
def test_changes_are_merged(changes: dict[str, Any], expected: dict[str, Any]) -> None:
    base = {"a": {"b": 1, "c": [1, 2]}}
    assert merged(base, changes) == expected
    assert base == {"a": {"b": 1, "c": [1, 2]}}


@pytest.mark.parametrize("changes", [{}, {"scaling": {"minReplicas": 2}}, {"traffic": {"host": None, "ingress": None}}])
def test_the_api_takes_it(changes: dict[str, Any]) -> None:
    spec = deployment("e2e-x", "x", "v2", changes)["spec"]
    assert ModelDeploymentSpec.model_validate(spec).model.version == "v2"
