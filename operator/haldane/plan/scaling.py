"""`spec.scaling` -> HorizontalPodAutoscaler of a revision."""

from __future__ import annotations

from typing import Any

from haldane.api.spec import ResourceMetric
from haldane.api.v1alpha1 import ModelDeployment
from haldane.plan import names
from haldane.plan.pod_template import CONTAINER

Manifest = dict[str, Any]

_RESOURCES = {"CPU": "cpu", "Memory": "memory"}


def autoscaler(md: ModelDeployment, revision: str, least: int) -> Manifest:
    """The autoscaler (autoscaling/v2) that owns the replicas of a revision's Deployment, and goes no lower than `least`."""
    name, scaling = names.revision_name(md.metadata.name, revision), md.spec.scaling
    spec = {
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name},
        "minReplicas": min(least, scaling.max_replicas or least),
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
