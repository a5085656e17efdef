"""`ModelDeployment.spec`: what a user asks for.

A revision is `model` + `runtime`; `scaling`, `traffic` and `rollout` never make a new one.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from haldane.api.base import ApiModel, Rule, validations
from haldane.api.forms import DnsName, HeaderName, MetricTarget, ObjectName, UrlPath
from haldane.api.model import Model
from haldane.api.rollout import Rollout
from haldane.api.runtime import Runtime


class ResourceMetric(ApiModel):
    """One metric of the HorizontalPodAutoscaler."""

    type: Literal["CPU", "Memory"] = Field(description="CPU or Memory of the pods.")
    target: MetricTarget = Field(
        description="Average to hold: a share of the request, for example 70%, or an amount a pod, for example 500m or 1Gi.",
    )


class Scaling(ApiModel):
    """How many pods serve. Changes make no new revision."""

    model_config = ConfigDict(
        json_schema_extra=validations(
            Rule(
                "!has(self.maxReplicas) || self.maxReplicas >= self.minReplicas",
                "maxReplicas must be at least minReplicas: raise maxReplicas or lower minReplicas",
                ".maxReplicas",
            )
        )
    )
    min_replicas: int = Field(1, ge=1, le=1000, description="Pods that always serve.")
    max_replicas: int | None = Field(
        None, ge=1, le=1000, description="Pods at most; more than minReplicas turns autoscaling on."
    )
    metrics: Annotated[
        list[ResourceMetric],
        Rule(
            "self.all(metric, self.exists_one(other, other.type == metric.type))",
            "types in scaling.metrics must differ: leave one of them out",
        ),
    ] = Field(
        default_factory=lambda: [ResourceMetric(type="CPU", target="70%")],
        min_length=1,
        max_length=8,
        description="What the autoscaler holds; the largest answer wins. Default: 70% of the requested CPU.",
    )


class Ingress(ApiModel):
    """A route by an Ingress controller that understands nginx canary annotations (ingress-nginx, Traefik 3.7+)."""

    class_name: ObjectName | None = Field(None, description="IngressClass; the cluster's default when left out.")
    annotations: dict[str, str] = Field(
        default_factory=dict,
        max_length=64,
        description="More annotations for both Ingresses.",
        json_schema_extra=validations(
            Rule(
                "self.all(key, !key.startsWith('nginx.ingress.kubernetes.io/canary'))",
                "nginx.ingress.kubernetes.io/canary* annotations are set by Haldane: use rollout.steps instead",
            )
        ),
    )
    preview_header: HeaderName | None = Field(
        None, description="Requests with this header, value always, go to a ready candidate at any weight."
    )
    tls_secret: ObjectName | None = Field(None, description="Secret with the TLS certificate for the host.")


class Traffic(ApiModel):
    """How clients reach the model. Without it, by its Service inside the cluster, where pod counts make a canary's share."""

    model_config = ConfigDict(
        json_schema_extra=validations(
            Rule(
                "has(self.host) == has(self.ingress)",
                "traffic.host and traffic.ingress belong together: write both, or leave out traffic",
            )
        )
    )
    host: DnsName | None = Field(None, description="Host name that clients use.")
    path: UrlPath = Field("/", description="Path prefix that clients use.")
    ingress: Ingress | None = Field(None, description="Route by Ingress objects with nginx canary annotations.")


class ModelDeploymentSpec(ApiModel):
    """What to serve, how to run it, how far to scale it, and how to replace it."""

    model: Model = Field(description="The model to serve.")
    runtime: Runtime = Field(default_factory=Runtime, description="How the model is run.")
    scaling: Scaling = Field(default_factory=Scaling, description="How many pods serve.")
    traffic: Traffic = Field(default_factory=Traffic, description="How clients reach the model.")
    rollout: Rollout = Field(default_factory=Rollout, description="How a new revision takes over.")
