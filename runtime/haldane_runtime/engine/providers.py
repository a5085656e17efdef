"""Which execution providers a session gets, and with which options. Pure: decided before anything is opened."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from haldane_runtime.core.errors import LoadError, Reason
from haldane_runtime.core.types import Datatype, ModelSignature

Provider = tuple[str, dict[str, str]]

# By their names in HALDANE_PROVIDERS, in the order in which a node is offered to them.
EXECUTION_PROVIDER: Mapping[str, str] = {
    "TensorRT": "TensorrtExecutionProvider",
    "CUDA": "CUDAExecutionProvider",
    "CPU": "CPUExecutionProvider",
}
GPU_PROVIDERS = ("TensorRT", "CUDA")

_CUDA = {
    # Exhaustive search would time every convolution at start; the heuristic is within a few percent.
    "cudnn_conv_algo_search": "HEURISTIC",
    # Doubling would take up to twice the memory that the largest batch needs.
    "arena_extend_strategy": "kSameAsRequested",
}


def choose(device: str, wanted: Sequence[str]) -> tuple[str, ...]:
    """The providers' short names for a device; `wanted` is HALDANE_PROVIDERS, empty to follow the device.

    Raises:
        LoadError: InvalidConfiguration, when the list contradicts the device.
    """
    if device == "cpu":
        if foreign := [name for name in wanted if name != "CPU"]:
            raise LoadError(
                Reason.INVALID_CONFIGURATION,
                f"HALDANE_PROVIDERS asks for {foreign[0]}, which needs HALDANE_DEVICE gpu, but that is cpu.",
            )
        return ("CPU",)
    if not wanted:
        return ("CUDA", "CPU")
    if not any(name in GPU_PROVIDERS for name in wanted):
        raise LoadError(
            Reason.INVALID_CONFIGURATION,
            "HALDANE_DEVICE is gpu, but HALDANE_PROVIDERS lists none that uses it; add CUDA or TensorRT.",
        )
    if "CPU" in wanted and wanted[-1] != "CPU":
        raise LoadError(
            Reason.INVALID_CONFIGURATION,
            "HALDANE_PROVIDERS must list CPU last: it takes every node that it is offered.",
        )
    return tuple(wanted)


def require_available(chosen: Sequence[str], available: Collection[str]) -> None:
    """`available` is what this build of ONNX Runtime can try, by its own names.

    Raises:
        LoadError: DeviceUnavailable.
    """
    obstacle = (
        "the ONNX Runtime installed here has no {}; use the runtime-gpu image, or pip's extra runtime-gpu in place of "
        "runtime, or ask for the CPU (HALDANE_DEVICE=cpu, or device: cpu of a ModelDeployment)."
    )
    _require(chosen, available, obstacle)


def require_started(chosen: Sequence[str], started: Collection[str]) -> None:
    """`started` is what the session ended up with: ONNX Runtime drops a provider that does not start.

    Raises:
        LoadError: DeviceUnavailable.
    """
    obstacle = "ONNX Runtime could not start {} on it; check the driver and that the pod requests nvidia.com/gpu."
    _require(chosen, started, obstacle, {"TensorRT": _NO_TENSORRT})


_NO_TENSORRT = (
    "ONNX Runtime could not start TensorRT on it, which needs, besides the driver, the libraries of TensorRT 10 for CUDA 13 "
    "(libnvinfer.so.10) that no image of Haldane's has; add them to one of your own (docs/runtime.md says how) or leave "
    "TensorRT out of HALDANE_PROVIDERS."
)


def _require(
    chosen: Sequence[str], there: Collection[str], obstacle: str, special: Mapping[str, str] = MappingProxyType({})
) -> None:
    for name in chosen:
        if EXECUTION_PROVIDER[name] not in there:
            why = special.get(name, obstacle.format(name))
            raise LoadError(Reason.DEVICE_UNAVAILABLE, f"HALDANE_DEVICE asks for a GPU, but {why}")


def session_entries(chosen: Sequence[str]) -> dict[str, str]:
    """Session options that follow from the choice."""
    entries = {
        # Spinning threads burn the very quota that the next request needs.
        "session.intra_op.allow_spinning": "0",
    }
    if "CPU" not in chosen:
        # Left out on purpose: a node that no GPU provider takes is then an error, not a slow surprise.
        entries["session.disable_cpu_ep_fallback"] = "1"
    return entries


def options(
    chosen: Sequence[str],
    cache: Path | None,
    signature: ModelSignature | None,
    limit: int,
    cuda_graph: bool = False,
) -> list[Provider]:
    """What `onnxruntime.InferenceSession` takes as `providers`.

    `cache` is a folder of this model's own, or None for no caching; `signature` and `limit`, in rows,
    tell TensorRT which shapes will come.
    """
    made: dict[str, dict[str, str]] = {
        "TensorRT": _tensorrt(cache, signature, limit) | ({"trt_cuda_graph_enable": "1"} if cuda_graph else {}),
        "CUDA": _CUDA | ({"enable_cuda_graph": "1"} if cuda_graph else {}),
        "CPU": {},
    }
    return [(EXECUTION_PROVIDER[name], made[name]) for name in chosen]


def require_graph(signature: ModelSignature, chosen: Sequence[str]) -> None:
    """Raises: LoadError: InvalidConfiguration, when runs cannot be recorded as a CUDA graph."""
    if obstacle := graph_obstacle(signature, chosen):
        raise LoadError(Reason.INVALID_CONFIGURATION, f"HALDANE_CUDA_GRAPH is on, but {obstacle}.")


def graph_obstacle(signature: ModelSignature, chosen: Sequence[str]) -> str | None:
    """Why runs cannot be recorded, as the end of a sentence; None when they can.

    A graph replays the same kernels on the same memory: shapes must be fixed, and nothing may need the host.
    """
    if not any(name in GPU_PROVIDERS for name in chosen):
        return "a CUDA graph needs a GPU"
    for kind, specs in (("input", signature.inputs), ("output", signature.outputs)):
        for spec in specs:
            if not spec.shape or any(isinstance(dim, str) for dim in spec.shape):
                return f"the {kind} '{spec.name}' is {spec}, and a CUDA graph needs fixed shapes"
            if spec.datatype in (Datatype.BYTES, Datatype.BF16):
                return f"the {kind} '{spec.name}' is {spec.datatype}, which cannot be bound to a CUDA graph"
    return None


def _tensorrt(cache: Path | None, signature: ModelSignature | None, limit: int) -> dict[str, str]:
    entries: dict[str, str] = {}
    if cache is not None:
        # Building an engine takes minutes; a restart must not build it again.
        entries |= {
            "trt_engine_cache_enable": "1",
            "trt_engine_cache_path": str(cache),
            "trt_timing_cache_enable": "1",
            "trt_timing_cache_path": str(cache),
        }
    return entries | (_profile(signature, limit) if signature is not None else {})


def _profile(signature: ModelSignature, limit: int) -> dict[str, str]:
    """Shapes for one engine that serves every batch; without them each larger one is built anew, for minutes.

    Only where the first dimension is the only dynamic one: nothing else is known here.
    """
    if not any(isinstance(dim, str) for spec in signature.inputs for dim in spec.shape):
        return {}
    if any(isinstance(dim, str) for spec in signature.inputs for dim in spec.shape[1:]):
        return {}

    def shapes(rows: int) -> str:
        return ",".join(
            f"{spec.name}:{'x'.join(str(rows if isinstance(dim, str) else dim) for dim in spec.shape)}"
            for spec in signature.inputs
            if spec.shape
        )

    return {
        "trt_profile_min_shapes": shapes(1),
        "trt_profile_opt_shapes": shapes(limit),
        "trt_profile_max_shapes": shapes(limit),
    }
