"""`spec.runtime`: how the model is run."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field
from pydantic.config import JsonDict

from haldane.api.base import PRESERVE, ApiModel, Rule, list_map, validations
from haldane.api.forms import ImageReference, ObjectName, VariableName
from haldane.api.quantity import Bytes, Quantity, RequestTimeout

Passthrough = Annotated[dict[str, Any], Field(json_schema_extra={PRESERVE: True})]


def _part(description: str) -> JsonDict:
    return {"type": "object", PRESERVE: True, "description": description}


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
