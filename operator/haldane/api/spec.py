"""`ModelDeployment.spec`: what a user asks for.

A revision is `model` + `runtime`; `scaling`, `traffic` and `rollout` never make a new one.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field
from pydantic.config import JsonDict

from haldane.api.base import PRESERVE, ApiModel, Rule, list_map, validations
from haldane.api.forms import (
    DnsName,
    Endpoint,
    ImageReference,
    MetricTarget,
    ModelUri,
    ObjectName,
    Region,
    Sha256,
    UrlPath,
    VariableName,
    Version,
)
from haldane.api.quantity import Bytes, Quantity, RequestTimeout
from haldane.api.rollout import Rollout

Passthrough = Annotated[dict[str, Any], Field(json_schema_extra={PRESERVE: True})]


def _part(description: str) -> JsonDict:
    return {"type": "object", PRESERVE: True, "description": description}


class S3Location(ApiModel):
    """Where the S3 API is, when it is not AWS itself."""

    endpoint: Endpoint | None = Field(
        None, description="URL of the S3 API, for example https://minio.example.com:9000; AWS when left out."
    )
    region: Region | None = Field(None, description="Region that requests are signed for; us-east-1 when left out.")


class Model(ApiModel):
    """The model: where it is and, when you know it, what it must hash to."""

    model_config = ConfigDict(
        json_schema_extra=validations(
            Rule(
                "!has(self.credentialsSecret) || self.uri.startsWith('s3://')",
                "model.credentialsSecret is for s3:// models: leave it out, or write an s3:// uri",
                ".credentialsSecret",
            ),
            Rule(
                "!has(self.s3) || self.uri.startsWith('s3://')",
                "model.s3 is for s3:// models: leave it out, or write an s3:// uri",
                ".s3",
            ),
        )
    )
    uri: ModelUri = Field(
        description="Where the model is: s3://bucket/key, https://host/path or file:///path; a .onnx file or a folder that holds model.onnx."
    )
    version: Version | None = Field(
        None,
        description="Your name for this version, shown to clients and in metrics; derived from the revision when left out.",
    )
    sha256: Sha256 | None = Field(
        None, description="SHA-256 of the model in lower-case hex; a model that differs is not loaded."
    )
    credentials_secret: ObjectName | None = Field(
        None,
        description="Secret in the same namespace with AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (and other AWS_* keys) for s3:// models.",
    )
    s3: S3Location | None = Field(None, description="S3 endpoint and region, for stores other than AWS.")


class RequestLimits(ApiModel):
    """What one runtime pod accepts before it answers 413, 503 or 504."""

    queue: int = Field(
        1024,
        ge=1,
        le=1_000_000,
        description="Requests that may wait in one pod; more are answered 503 with Retry-After.",
    )
    request_timeout: RequestTimeout = Field(
        "10s", description="Longest time a request may take, waiting included; later it is answered 504."
    )
    request_bytes: Bytes = Field("64Mi", description="Largest request body; a larger one is answered 413.")


class Session(ApiModel):
    """ONNX Runtime session settings."""

    intra_op_threads: int | None = Field(
        None, ge=1, le=256, description="Threads inside one operator; the container's CPU quota when left out."
    )


class EnvVar(ApiModel):
    """One environment variable of the runtime container, as in a Pod."""

    model_config = ConfigDict(
        json_schema_extra=validations(
            Rule(
                "!(has(self.value) && has(self.valueFrom))",
                "an environment variable has value or valueFrom, not both: leave one out",
            )
        )
    )
    name: VariableName = Field(description="Name of the variable.")
    value: str | None = Field(None, max_length=32768, description="Value of the variable.")
    value_from: Passthrough | None = Field(
        None,
        description="Source of the value, as in a Pod: secretKeyRef, configMapKeyRef, fieldRef or resourceFieldRef.",
    )


class Resources(ApiModel):
    """Compute resources of one runtime pod, as in a Pod."""

    model_config = ConfigDict(
        json_schema_extra=validations(
            Rule(
                # Only these names, as a rule over all of them would be over the API server's budget. A text that is no
                # quantity is refused by its own rule: this one keeps silent about it.
                "!has(self.requests) || !has(self.limits) || ['cpu', 'memory'].all(name,"
                " !(name in self.requests) || !(name in self.limits)"
                " || quantity(string(self.requests[name])).compareTo(quantity(string(self.limits[name]))) <= 0"
                " || !isQuantity(string(self.requests[name])) || !isQuantity(string(self.limits[name])))",
                "resources.requests must not be above resources.limits: raise the limit or lower the request",
                ".requests",
            )
        )
    )
    requests: dict[str, Quantity] | None = Field(
        None, max_length=8, description="What the scheduler sets aside, for example cpu: 500m."
    )
    limits: dict[str, Quantity] | None = Field(
        None, max_length=8, description="What the pod may use at most, for example memory: 2Gi or nvidia.com/gpu: 1."
    )


class Runtime(ApiModel):
    """How the model is run. Together with `model` this makes a revision."""

    device: Literal["cpu", "gpu"] = Field(
        "cpu",
        description="cpu, or gpu: adds one nvidia.com/gpu and its toleration; a pod without a working GPU does not become ready.",
    )
    image: ImageReference | None = Field(
        None,
        description="Runtime image; the bundled one when left out. It is resolved once for each revision.",
    )
    resources: Resources | None = Field(None, description="Compute resources of the runtime container.")
    limits: RequestLimits = Field(default_factory=RequestLimits, description="Queue, time and size limits of one pod.")
    session: Session = Field(default_factory=Session, description="ONNX Runtime session settings.")
    env: Annotated[
        list[EnvVar],
        Rule(
            "self.all(variable, self.exists_one(other, other.name == variable.name))",
            "names in runtime.env must differ: leave one of them out",
        ),
    ] = Field(
        default_factory=list,
        max_length=64,
        description="More environment variables for the runtime container.",
        json_schema_extra=list_map("name"),
    )
    node_selector: dict[str, str] | None = Field(None, max_length=32, description="Node labels that the pods need.")
    tolerations: list[Passthrough] | None = Field(
        None, max_length=64, description="Node taints that the pods tolerate, as in a Pod."
    )
    service_account_name: ObjectName | None = Field(
        None,
        description="ServiceAccount of the pods, for workload identity; one without permissions is made when left out.",
    )
    pod_template: dict[str, Any] | None = Field(
        None,
        description="Anything else of a PodTemplateSpec (metadata and spec), merged strategically over the generated one.",
        json_schema_extra={
            "properties": {
                "metadata": _part("Labels and annotations of the pods."),
                "spec": _part("A PodSpec; the runtime's container is named runtime."),
            }
        },
    )


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
    rollout: Rollout = Field(
        default_factory=Rollout,
        description="How a new revision takes over: it gets a few per cent of the traffic, proves itself, and goes on or goes back.",
    )
