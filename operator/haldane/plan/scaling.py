"""`spec.scaling` -> HorizontalPodAutoscaler of the stable revision."""

from __future__ import annotations

from typing import Any

from haldane.api.spec import ResourceMetric
from haldane.api.v1alpha1 import ModelDeployment
from haldane.plan import names
from haldane.plan.pod_template import CONTAINER

Manifest = dict[str, Any]

_RESOURCES = {"CPU": "cpu", "Memory": "memory"}


def autoscaler(md: ModelDeployment, revision: str, floor: int = 0) -> Manifest:
    """The autoscaler (autoscaling/v2) that owns the replicas of a revision's Deployment.

    It goes no lower than `floor` while a rollout takes traffic from the revision, which may have to carry it all again.
    """
    name, scaling = names.revision_name(md.metadata.name, revision), md.spec.scaling
    spec = {
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name},
        "minReplicas": min(max(scaling.min_replicas, floor), scaling.max_replicas or scaling.min_replicas),
        "maxReplicas": scaling.max_replicas,
        "metrics": [_metric(metric) for metric in scaling.metrics],
    }
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": names.metadata(md, name, revision),
        "spec": spec,
    }


def _metric(metric: ResourceMetric) -> Manifest:
    """Of the runtime's container alone: a side car without requests would make a metric of the whole pod unknown."""
    text = metric.target
    target: Manifest = (
        {"type": "Utilization", "averageUtilization": int(text[:-1])}
        if text.endswith("%")
        else {"type": "AverageValue", "averageValue": text}
    )
    resource = {"name": _RESOURCES[metric.type], "container": CONTAINER, "target": target}
    return {"type": "ContainerResource", "containerResource": resource}
