"""`spec.runtime`: how the model is run."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, field_validator
from pydantic.config import JsonDict

from haldane.api.base import PRESERVE, ApiModel, Passthrough, Rule, list_map, validations
from haldane.api.forms import ImageReference, ObjectName, RedisUrl, SecretKey, VariableName
from haldane.api.quantity import BatchDelay, Bytes, Interval, Percent, Quantity, QueueDelay, RequestTimeout


def _part(description: str) -> JsonDict:
    return {"type": "object", PRESERVE: True, "description": description}


class Batching(ApiModel):
    """How requests that wait for the engine are merged into one run of it.

    Models whose rows turn out not to be independent are never batched, whatever stands here.
    """

    max_batch_size: int | None = Field(
        None, ge=1, le=4096, description="Rows in one run at most; 1: no batching. 64 when left out."
    )
    max_delay: BatchDelay | None = Field(
        None,
        description="How long an idle engine waits for more rows; not at all when left out.",
    )


class RequestLimits(ApiModel):
    """What one runtime pod accepts before it answers 413, 503 or 504."""

    model_config = ConfigDict(
        json_schema_extra=validations(
            Rule(
                # A text that is no size is refused by its own rule: this one keeps silent about it.
                "!has(self.queueBytes) || !isQuantity(self.queueBytes) || !isQuantity(self.requestBytes)"
                " || quantity(self.queueBytes).compareTo(quantity(self.requestBytes)) >= 0",
                "limits.queueBytes must be at least limits.requestBytes: raise queueBytes or lower requestBytes",
                ".queueBytes",
            )
        )
    )
    queue: int = Field(
        1024,
        ge=1,
        le=1_000_000,
        description="Requests that may wait in one pod; more are answered 503.",
    )
    queue_bytes: Bytes | None = Field(
        None, description="Bytes that may wait; more are answered 503. 256Mi when left out."
    )
    queue_delay: QueueDelay | None = Field(
        None,
        description="Longest wait for the engine; longer: 503. auto: 8 runs, as measured. requestTimeout when left out.",
    )
    request_timeout: RequestTimeout = Field(
        "10s", description="Longest time a request may take, waiting included; later it is answered 504."
    )
    request_bytes: Bytes = Field("64Mi", description="Largest request body; a larger one is answered 413.")


class Session(ApiModel):
    """ONNX Runtime session settings."""

    model_config = ConfigDict(
        json_schema_extra=validations(
            Rule(
                "!has(self.precisionTolerance) || (has(self.precision) && self.precision != 'fp32')",
                "session.precisionTolerance is for precision fp16 and int8: write one of them, or leave it out",
                ".precisionTolerance",
            )
        )
    )
    providers: (
        Annotated[
            list[Literal["TensorRT", "CUDA", "CPU"]],
            Rule(
                # The runtime refuses CPU before others, as it takes every node that it is offered.
                "self.all(one, self.exists_one(other, other == one)) && self.indexOf('CPU') in [-1, self.size() - 1]",
                "session.providers: name each once, and CPU last",
            ),
        ]
        | None
    ) = Field(
        None,
        min_length=1,
        max_length=3,
        description="Execution providers by preference; when left out, CUDA for device: gpu and CPU otherwise.",
    )
    intra_op_threads: int | None = Field(
        None,
        ge=1,
        le=256,
        description="Threads inside one operator; measured at load, within the CPU quota, when left out.",
    )
    precision: Literal["fp32", "fp16", "int8"] | None = Field(
        None,
        description="What the model is converted to at load; fp32, as it is, when left out.",
    )
    precision_tolerance: Percent | None = Field(
        None,
        description="Largest relative difference from fp32; further off, it is not served. 1% when left out.",
    )


class Grpc(ApiModel):
    """gRPC (Open Inference Protocol, health, reflection) beside HTTP."""

    enabled: bool = Field(True, description="Whether pods and Services have port 8081 for gRPC.")


class SecretRef(ApiModel):
    """One key of a Secret in the same namespace."""

    name: ObjectName = Field(description="Name of the Secret.")
    key: SecretKey | None = Field(None, description="Key in the Secret; url when left out.")


class ResponseCache(ApiModel):
    """Answers that are kept in a Redis, for models that give equal inputs equal outputs."""

    model_config = ConfigDict(
        json_schema_extra=validations(
            Rule(
                "has(self.url) != has(self.secretRef)",
                "responseCache needs url or secretRef, not both: write where the Redis is, or the Secret that says so",
            )
        )
    )
    url: RedisUrl | None = Field(
        None,
        description="The Redis, for example redis://cache:6379/0; rediss:// for TLS. With a password use secretRef.",
    )
    secret_ref: SecretRef | None = Field(
        None, description="Secret that holds the URL, for example rediss://user:password@cache:6379/0."
    )
    ttl: Interval | None = Field(None, description="How long an answer is kept; 5m when left out.")


class RequestLog(ApiModel):
    """One line of JSON for a prediction: digests, outcome and times, no data."""

    sample: Percent = Field(description="Share of the predictions that are logged, for example 1%.")


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
        description="As in a Pod: secretKeyRef, configMapKeyRef, fieldRef or resourceFieldRef.",
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


# The API server tries the rules on the default of runtime, too, before it fills the defaults of the parts into it.
_NO_PROVIDERS = "!has(self.session) || !has(self.session.providers)"


class Runtime(ApiModel):
    """How the model is run. Together with `model` this makes a revision.

    New fields are optional and have no default here, where the runtime has one: an upgrade of the CRD fills nothing into
    the objects that are there.
    """

    model_config = ConfigDict(
        json_schema_extra=validations(
            Rule(
                f"{_NO_PROVIDERS} || self.device == 'gpu' || self.session.providers.all(one, one == 'CPU')",
                "TensorRT and CUDA in session.providers need a GPU: write device: gpu, or leave them out",
                ".session.providers",
            ),
            Rule(
                f"{_NO_PROVIDERS} || self.device != 'gpu' || self.session.providers.exists(one, one != 'CPU')",
                "device: gpu needs TensorRT or CUDA in session.providers: add one, or write device: cpu",
                ".session.providers",
            ),
        )
    )

    @field_validator("batching", "grpc")
    @classmethod
    def _written_out(cls, value: Batching | Grpc | None) -> Batching | Grpc | None:
        """A default that is written out is the same as one that is left out: it makes no new revision."""
        return None if value in (Batching(), Grpc()) else value

    device: Literal["cpu", "gpu"] = Field(
        "cpu",
        description="cpu, or gpu: adds one nvidia.com/gpu and its toleration; without a working GPU no pod becomes ready.",
    )
    image: ImageReference | None = Field(
        None,
        description="Runtime image; the bundled one when left out. It is resolved once for each revision.",
    )
    resources: Resources | None = Field(None, description="Compute resources of the runtime container.")
    limits: RequestLimits = Field(default_factory=RequestLimits, description="Queue, time and size limits of one pod.")
    batching: Batching | None = Field(None, description="How waiting requests are merged into one run of the engine.")
    session: Session = Field(default_factory=Session, description="ONNX Runtime session settings.")
    grpc: Grpc | None = Field(None, description="gRPC beside HTTP; on when left out.")
    response_cache: ResponseCache | None = Field(
        None, description="Keeps answers in a Redis; one that is down costs no request."
    )
    request_log: RequestLog | None = Field(None, description="Logs predictions; none when left out.")
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
        description="ServiceAccount of the pods; one without permissions is made when left out.",
    )
    pod_template: dict[str, Any] | None = Field(
        None,
        description="Anything else of a PodTemplateSpec, merged strategically over the generated one.",
        json_schema_extra={
            "properties": {
                "metadata": _part("Labels and annotations of the pods."),
                "spec": _part("A PodSpec; the runtime's container is named runtime."),
            }
        },
    )
