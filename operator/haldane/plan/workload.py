"""A revision -> what runs it: its Deployment, its PodDisruptionBudget, and the ServiceAccount of the model's pods."""

from __future__ import annotations

import math
from typing import Any

from haldane.api.quantity import parse_duration
from haldane.api.v1alpha1 import ModelDeployment
from haldane.plan import names
from haldane.plan.revision import Revision

Manifest = dict[str, Any]

_INT32_MAX = 2**31 - 1


def deployment(md: ModelDeployment, revision: Revision) -> Manifest:
    """The revision's Deployment, without `spec.replicas`: who sizes it is not for its manifest to say.

    Its pod template never changes, so its strategy speaks of nothing but lost pods.
    """
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": names.metadata(md, names.revision_name(md.metadata.name, revision.name), revision.name),
        "spec": {
            "selector": {"matchLabels": names.selector(md.metadata.name, revision.name)},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
            "revisionHistoryLimit": 0,
            "progressDeadlineSeconds": _deadline_seconds(md),
            "template": revision.template,
        },
    }


def disruption_budget(md: ModelDeployment, revision: Revision) -> Manifest:
    """Drains of nodes take the revision's pods one by one; pods that never became ready stand in no drain's way."""
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": names.metadata(md, names.revision_name(md.metadata.name, revision.name), revision.name),
        "spec": {
            "maxUnavailable": 1,
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
            "selector": {"matchLabels": names.selector(md.metadata.name, revision.name)},
        },
    }


def service_account(md: ModelDeployment) -> Manifest:
    """An identity without permissions and without a token; serving a model needs neither."""
    return {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": names.metadata(md, names.service_account(md.metadata.name)),
        "automountServiceAccountToken": False,
    }


def _deadline_seconds(md: ModelDeployment) -> int:
    seconds = math.ceil(parse_duration(md.spec.rollout.progress_deadline).total_seconds())
    return min(max(1, seconds), _INT32_MAX)
