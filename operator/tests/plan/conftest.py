"""Objects as the API server gives them, for the tests of the planning core."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import settings

from haldane.api.status import ModelDeploymentStatus, RevisionStatus, RolloutStatus
from haldane.api.v1alpha1 import ModelDeployment
from haldane.plan import names
from haldane.plan.revision import revision_hash

# Laws are about results: how long one example takes on a busy machine says nothing about them.
settings.register_profile("laws", deadline=None)
settings.load_profile("laws")

NOW = datetime(2026, 1, 1, 12, 0, 0, 250_000, tzinfo=UTC)


def a_model_deployment(
    spec: dict[str, Any] | None = None,
    status: dict[str, Any] | None = None,
    name: str = "fraud",
    annotations: dict[str, str] | None = None,
    **changes: Any,
) -> ModelDeployment:
    return ModelDeployment.from_wire(
        {
            "apiVersion": "haldane.dev/v1alpha1",
            "kind": "ModelDeployment",
            "metadata": {
                "name": name,
                "namespace": "payments",
                "uid": "11111111-2222-3333-4444-555555555555",
                "generation": 7,
                "resourceVersion": "42",
                "labels": {"argocd.argoproj.io/instance": "apps", "team": "risk"},
                "annotations": annotations or {},
            },
            "spec": {**(spec or {"model": {"uri": "s3://models/fraud/1/", "version": "1"}}), **changes},
            "status": status or {},
        }
    )


def a_status(md: ModelDeployment, phase: str, **parts: Any) -> ModelDeploymentStatus:
    """A status with the spec's own revision as stable unless `stable` says otherwise, and the rest of `rollout` in parts."""
    revision = RevisionStatus(revision=revision_hash(md), version=md.spec.model.version or "", replicas=1)
    rollout = RolloutStatus.model_validate({"phase": phase, **parts.pop("rollout", {})})
    return ModelDeploymentStatus(**{"stable": revision, "rollout": rollout, **parts})


def a_pod(revision: str = "aaaaaaaaaa", name: str = "pod-1", **status: Any) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "payments", "labels": names.labels("fraud", revision)},
        "spec": {"containers": [{"name": "runtime", "resources": {"limits": {"memory": "2Gi"}}}]},
        "status": status,
    }


def a_deployment(revision: str = "aaaaaaaaaa", replicas: int = 2, ready: int = 0, **status: Any) -> dict[str, Any]:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": f"fraud-{revision}", "namespace": "payments", "labels": names.labels("fraud", revision)},
        "spec": {"replicas": replicas},
        "status": {"readyReplicas": ready, **status},
    }


@pytest.fixture(scope="session")
def now() -> datetime:
    return NOW


@pytest.fixture(scope="session")
def model_deployment() -> Callable[..., ModelDeployment]:
    return a_model_deployment


@pytest.fixture(scope="session")
def status_of() -> Callable[..., ModelDeploymentStatus]:
    return a_status


@pytest.fixture(scope="session")
def pod() -> Callable[..., dict[str, Any]]:
    return a_pod


@pytest.fixture(scope="session")
def deployment() -> Callable[..., dict[str, Any]]:
    return a_deployment
