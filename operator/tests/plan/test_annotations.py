"""What the verbs' annotations ask, and who asks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from haldane.api.v1alpha1 import ModelDeployment
from haldane.plan.annotations import LONGEST, asked, author

Make = Callable[..., ModelDeployment]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("now", "now"),
        (" now ", "now"),
        ("true", "true"),
        ("", ""),
        ("  ", ""),
        ("false", ""),
        ("False", ""),
        ("x" * 1000, "x" * LONGEST),
    ],
)
def test_what_is_asked(model_deployment: Make, value: str, expected: str) -> None:
    assert asked(model_deployment(annotations={"haldane.dev/abort": value}), "abort") == expected
    assert asked(model_deployment(annotations={"haldane.dev/abort": value}), "promote") == ""


NOBODY: list[dict[str, Any]] = []


def entry(manager: str, time: str, *annotations: str) -> dict[str, Any]:
    fields: dict[str, Any] = {f"f:haldane.dev/{name}": {} for name in annotations}
    return {"manager": manager, "time": time, "fieldsV1": {"f:metadata": {"f:annotations": fields}}}


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        (NOBODY, ""),
        ([entry("kubectl-annotate", "2026-01-01T00:00:00Z", "abort")], "kubectl-annotate"),
        ([entry("haldane:alice", "2026-01-01T00:00:00Z", "abort", "pause")], "alice"),
        ([entry("argocd-controller", "2026-01-01T00:00:00Z", "promote")], ""),
        (
            [
                entry("argocd-controller", "2026-01-01T00:00:00Z", "abort"),
                entry("haldane:bob", "2026-01-02T00:00:00Z", "abort"),
                {"manager": "kubectl", "time": "2026-01-03T00:00:00Z", "fieldsV1": {"f:spec": {}}},
                {"manager": "old", "time": "2026-01-04T00:00:00Z"},
            ],
            "bob",
        ),
    ],
)
def test_who_asks(model_deployment: Make, fields: list[dict[str, Any]], expected: str) -> None:
    md = model_deployment(annotations={"haldane.dev/abort": "now"})
    md = md.model_copy(update={"metadata": md.metadata.model_copy(update={"managed_fields": fields})})
    assert author(md, "abort") == expected
