"""Decisions about GPUs, taken without one."""

import re
from pathlib import Path

import pytest

from haldane_runtime.core.errors import LoadError, Reason
from haldane_runtime.core.types import Datatype, ModelSignature, TensorSpec
from haldane_runtime.engine.providers import (
    EXECUTION_PROVIDER,
    choose,
    options,
    require_available,
    require_graph,
    require_started,
    session_entries,
)
from haldane_runtime.engine.refusals import load_error
from haldane_runtime.settings import PROVIDERS

CACHE = Path("/cache/abc")


def inputs(*shapes: tuple[int | str, ...]) -> ModelSignature:
    return ModelSignature(tuple(TensorSpec(f"x{n}", Datatype.FP32, shape) for n, shape in enumerate(shapes)), ())


def test_every_provider_of_the_settings_is_known() -> None:
    assert set(PROVIDERS) == set(EXECUTION_PROVIDER)


@pytest.mark.parametrize(
    ("device", "wanted", "chosen"),
    [
        ("cpu", (), ("CPU",)),
        ("cpu", ("CPU",), ("CPU",)),
        ("gpu", (), ("CUDA", "CPU")),
        ("gpu", ("CUDA",), ("CUDA",)),
        ("gpu", ("TensorRT", "CUDA", "CPU"), ("TensorRT", "CUDA", "CPU")),
    ],
)
def test_providers_follow_the_list_or_the_device(device: str, wanted: tuple[str, ...], chosen: tuple[str, ...]) -> None:
    assert choose(device, wanted) == chosen


@pytest.mark.parametrize(
    ("device", "wanted", "message"),
    [
        ("cpu", ("CUDA", "CPU"), "asks for CUDA, which needs HALDANE_DEVICE gpu"),
        ("gpu", ("CPU",), "lists none that uses it; add CUDA or TensorRT"),
        ("gpu", ("CPU", "CUDA"), "must list CPU last"),
    ],
)
def test_a_list_that_contradicts_the_device_is_refused(device: str, wanted: tuple[str, ...], message: str) -> None:
    with pytest.raises(LoadError, match=message) as caught:
        choose(device, wanted)
    assert caught.value.reason is Reason.INVALID_CONFIGURATION


def test_a_provider_that_is_missing_or_did_not_start_is_named() -> None:
    chosen, cpu = ("TensorRT", "CUDA", "CPU"), ["CPUExecutionProvider"]
    everything = list(EXECUTION_PROVIDER.values())
    require_available(chosen, everything)
    require_started(chosen, everything)
    with pytest.raises(LoadError, match="has no TensorRT; use the runtime-gpu image") as caught:
        require_available(chosen, ["CUDAExecutionProvider", *cpu])
    assert caught.value.reason is Reason.DEVICE_UNAVAILABLE
    with pytest.raises(LoadError, match="could not start CUDA on it; check the driver") as caught:
        require_started(("CUDA", "CPU"), cpu)
    assert caught.value.reason is Reason.DEVICE_UNAVAILABLE
    with pytest.raises(
        LoadError, match=r"could not start TensorRT .* the libraries of TensorRT 10 .*libnvinfer\.so\.10"
    ):
        require_started(chosen, ["CUDAExecutionProvider", *cpu])


def test_without_cpu_in_the_list_nothing_runs_on_it() -> None:
    assert session_entries(("CUDA",))["session.disable_cpu_ep_fallback"] == "1"
    assert "session.disable_cpu_ep_fallback" not in session_entries(("CUDA", "CPU"))


def test_cuda_does_not_search_exhaustively() -> None:
    [(name, entries), (last, none)] = options(("CUDA", "CPU"), CACHE, None, 8)
    assert (name, last, none) == ("CUDAExecutionProvider", "CPUExecutionProvider", {})
    assert entries["cudnn_conv_algo_search"] == "HEURISTIC"


def test_tensorrt_keeps_its_engine() -> None:
    [(_, entries)] = options(("TensorRT",), CACHE, None, 8)
    assert (entries["trt_engine_cache_enable"], entries["trt_engine_cache_path"]) == ("1", "/cache/abc")
    [(_, entries)] = options(("TensorRT",), None, None, 8)
    assert entries == {}


@pytest.mark.parametrize(
    ("signature", "least", "most"),
    [
        (inputs(("N", 3, 4)), "x0:1x3x4", "x0:8x3x4"),
        (inputs(("N", 3), ("N", 2)), "x0:1x3,x1:1x2", "x0:8x3,x1:8x2"),
        (inputs(("N", 3), ()), "x0:1x3", "x0:8x3"),
        (inputs((1, 3)), None, None),
        (inputs(("N", "T")), None, None),
    ],
    ids=["images", "two inputs", "a scalar", "fixed", "more unknown"],
)
def test_tensorrt_builds_one_engine_for_all_batches(
    signature: ModelSignature, least: str | None, most: str | None
) -> None:
    [(_, entries)] = options(("TensorRT",), None, signature, 8)
    assert entries.get("trt_profile_min_shapes") == least
    assert entries.get("trt_profile_opt_shapes") == entries.get("trt_profile_max_shapes") == most


@pytest.mark.parametrize(
    ("signature", "chosen", "obstacle"),
    [
        (inputs((1, 3)), ("CUDA", "CPU"), None),
        (inputs((1, 3)), ("TensorRT",), None),
        (inputs((1, 3)), ("CPU",), "a CUDA graph needs a GPU"),
        (inputs(("N", 3)), ("CUDA",), "the input 'x0' is FP32 of shape [-1, 3], and a CUDA graph needs fixed shapes"),
        (inputs(()), ("CUDA",), "the input 'x0' is FP32 of shape [], and a CUDA graph needs fixed shapes"),
        (
            ModelSignature((), (TensorSpec("y", Datatype.BYTES, (1,)),)),
            ("CUDA",),
            "the output 'y' is BYTES, which cannot be bound to a CUDA graph",
        ),
    ],
)
def test_what_may_be_recorded_as_a_cuda_graph(
    signature: ModelSignature, chosen: tuple[str, ...], obstacle: str | None
) -> None:
    if obstacle is None:
        require_graph(signature, chosen)
        [(_, entries), *_] = options(chosen, None, signature, 1, cuda_graph=True)
        assert "1" in (entries.get("enable_cuda_graph"), entries.get("trt_cuda_graph_enable"))
        return
    with pytest.raises(LoadError, match=re.escape(f"HALDANE_CUDA_GRAPH is on, but {obstacle}.")) as caught:
        require_graph(signature, chosen)
    assert caught.value.reason is Reason.INVALID_CONFIGURATION


@pytest.mark.parametrize(
    ("device", "said", "reason", "sentence"),
    [
        (
            "gpu",
            "[ONNXRuntimeError] : 1 : FAIL : CUDA failure 35: CUDA driver version is insufficient",
            Reason.DEVICE_UNAVAILABLE,
            "HALDANE_DEVICE asks for a GPU, but CUDA does not work here: CUDA failure 35: CUDA driver version is insufficient.",
        ),
        (
            "gpu",
            "This session contains graph nodes that are assigned to the default CPU EP, but fallback to CPU EP has been "
            "explicitly disabled by the user.",
            Reason.INVALID_CONFIGURATION,
            "Not every node of the model runs on the providers of HALDANE_PROVIDERS; add CPU at its end.",
        ),
        (
            "cpu",
            "Exception: Failed to construct locale with name:en_US.UTF-8:locale::facet::_S_create_c_locale name not valid",
            Reason.INVALID_MODEL,
            "by the rules of en_US.UTF-8, which this image does not have; export its StringNormalizer with the locale C",
        ),
        (
            "cpu",
            "Error Op registered for TreeEnsembleRegressor is deprecated in domain_version of 5",
            Reason.INVALID_MODEL,
            "uses the operator TreeEnsembleRegressor, which ONNX Runtime 1.31.1 does not have in opset 5",
        ),
        ("cpu", "std::bad_alloc", Reason.LOAD_FAILED, "does not fit into the memory"),
        (
            "cpu",
            "[ONNXRuntimeError] : 1 : FAIL : Load model from m failed:Unsupported model IR version: 99, max supported IR version: 12",
            Reason.INVALID_MODEL,
            "The model has IR version 99, but ONNX Runtime 1.31.1 reads up to 12; export it with an older version of onnx.",
        ),
    ],
    ids=["driver", "fallback", "locale", "deprecated", "memory", "IR version"],
)
def test_refusals_become_sentences(device: str, said: str, reason: Reason, sentence: str) -> None:
    error = load_error(Path("model.onnx"), device, RuntimeError(said), "1.31.1")
    assert error.reason is reason
    assert sentence in error.message
