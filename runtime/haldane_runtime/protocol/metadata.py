"""What the protocol tells of a model, as plain objects: metadata, configuration, statistics. Pure."""

from collections.abc import Sequence
from typing import Any

from haldane_runtime.core.instance import ModelInstance
from haldane_runtime.core.types import Datatype, ServedModel, TensorSpec
from haldane_runtime.observe.metrics import ModelMetrics

PLATFORM = "onnxruntime_onnx"
# What both transports say that they serve; perf_analyzer reads a server's statistics only where they are named.
EXTENSIONS = ("binary_tensor_data", "model_configuration", "model_repository", "parameters", "statistics")

_NANOSECONDS = 1_000_000_000


def model_metadata(model: ServedModel, versions: Sequence[str]) -> dict[str, Any]:
    """The answer to `GET /v2/models/{model}`; `versions` are those of that name that are served."""
    return {
        "name": model.name,
        "versions": list(versions),
        "platform": PLATFORM,
        "inputs": [_tensor(spec) for spec in model.signature.inputs],
        "outputs": [_tensor(spec) for spec in model.signature.outputs],
    }


def _tensor(spec: TensorSpec) -> dict[str, Any]:
    return {"name": spec.name, "datatype": spec.datatype, "shape": spec.dims}


def model_configuration(instance: ModelInstance) -> dict[str, Any]:
    """The answer to `GET /v2/models/{model}/config`, in the form that Triton's clients read.

    As they expect it, `max_batch_size` is 0 for a model whose requests are not merged, and the `dims`
    of one whose requests are leave out the first dimension.
    """
    model, profile = instance.model, instance.profile
    batched = profile.batchable and profile.max_rows > 1
    configuration: dict[str, Any] = {
        "name": model.name,
        "platform": PLATFORM,
        "backend": "onnxruntime",
        "max_batch_size": profile.max_rows if batched else 0,
        "input": [_configured(spec, batched) for spec in model.signature.inputs],
        "output": [_configured(spec, batched) for spec in model.signature.outputs],
        "instance_group": [{"name": model.name, "kind": f"KIND_{model.device.upper()}", "count": 1}],
    }
    if batched:
        configuration["dynamic_batching"] = {"max_queue_delay_microseconds": 0}
    return configuration


def _configured(spec: TensorSpec, batched: bool) -> dict[str, Any]:
    kind = "STRING" if spec.datatype is Datatype.BYTES else spec.datatype
    return {"name": spec.name, "data_type": f"TYPE_{kind}", "dims": spec.dims[1:] if batched else spec.dims}


def model_statistics(model: ServedModel, metrics: ModelMetrics) -> dict[str, Any]:
    """One entry of the answer to `GET /v2/models/{model}/stats`, since the start of the process.

    The counts are of all versions of the model together, and of requests, each with the whole time of
    the run that it was part of. Input and output are not measured apart from the run: they have its
    count, which perf_analyzer wants to be the same, and no time.
    """
    succeeded = metrics.requests[200]
    failed = sum(metrics.requests.values()) - succeeded
    return {
        "name": model.name,
        "version": model.version,
        "inference_count": int(metrics.batch_rows.sum),
        "execution_count": sum(metrics.inference.counts),
        "inference_stats": {
            "success": _duration(succeeded, metrics.success_seconds),
            "fail": _duration(failed, metrics.duration.sum - metrics.success_seconds),
            # perf_analyzer tells by this count which version has answered.
            "queue": _duration(metrics.ran_requests, metrics.waited_seconds),
            "compute_input": _duration(metrics.ran_requests, 0.0),
            "compute_infer": _duration(metrics.ran_requests, metrics.ran_seconds),
            "compute_output": _duration(metrics.ran_requests, 0.0),
            "cache_hit": _duration(0, 0.0),
            "cache_miss": _duration(0, 0.0),
        },
        "batch_stats": [],
    }


def _duration(count: int, seconds: float) -> dict[str, int]:
    return {"count": count, "ns": max(0, round(seconds * _NANOSECONDS))}
