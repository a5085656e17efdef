"""ONNX Runtime: sessions and runs.

Custom-op libraries are never registered, and external data outside the model's folder is refused
by ONNX Runtime itself (symbolic links included). A request for a GPU that cannot be met is an
error: ONNX Runtime would otherwise go on with the CPU and a warning.
"""

import ctypes
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

from haldane_runtime.core.errors import Code, LoadError, Reason, RequestError, invalid
from haldane_runtime.core.types import Array, Datatype, ModelSignature, TensorSpec
from haldane_runtime.engine import providers
from haldane_runtime.engine.binding import FixedMemory
from haldane_runtime.engine.refusals import load_error, sentence

VERSION: str = ort.__version__

_DATATYPE = {
    "tensor(bool)": Datatype.BOOL,
    "tensor(uint8)": Datatype.UINT8,
    "tensor(uint16)": Datatype.UINT16,
    "tensor(uint32)": Datatype.UINT32,
    "tensor(uint64)": Datatype.UINT64,
    "tensor(int8)": Datatype.INT8,
    "tensor(int16)": Datatype.INT16,
    "tensor(int32)": Datatype.INT32,
    "tensor(int64)": Datatype.INT64,
    "tensor(float16)": Datatype.FP16,
    "tensor(bfloat16)": Datatype.BF16,
    "tensor(float)": Datatype.FP32,
    "tensor(double)": Datatype.FP64,
    "tensor(string)": Datatype.BYTES,
}

# TensorProto.BFLOAT16 of the ONNX format.
_BFLOAT16 = 16


class OnnxEngine:
    """An inference session and the signature it was checked against."""

    def __init__(
        self, session: ort.InferenceSession, signature: ModelSignature, device: str, fixed: FixedMemory | None = None
    ) -> None:
        """`fixed` is where a CUDA graph of this session works."""
        self._session = session
        # The method below `session.run`, which looks at every input's name on every run: 1.6 of 25 microseconds for
        # one input, 70 of 130 for a hundred. What it would find, an input left out, is found by counting.
        self._run = session._sess.run
        self._inputs = len(signature.inputs)
        tensors = (*signature.inputs, *signature.outputs)
        self._bfloat16 = frozenset(spec.name for spec in tensors if spec.datatype is Datatype.BF16)
        if self._bfloat16:
            self._run = self._run_bfloat16
        if fixed:
            self._run = fixed.run
        self.signature = signature
        self.device = device

    def run(self, inputs: Mapping[str, Array], outputs: Sequence[str]) -> dict[str, Array]:
        """See `Engine.run`."""
        if len(inputs) != self._inputs:
            raise invalid(f"the model takes {self._inputs} inputs, got {len(inputs)}")
        try:
            arrays = self._run(outputs, inputs, None)
        except Exception as error:
            # A mismatch with the graph's own interface is told before any node runs.
            if isinstance(error, ort.capi.onnxruntime_pybind11_state.InvalidArgument) and "running" not in str(error):
                raise invalid(f"the model refuses the inputs: {sentence(error)}") from error
            raise RequestError(Code.MODEL_FAILED, f"the model failed: {sentence(error)}") from error
        return dict(zip(outputs, arrays, strict=True))

    def _run_bfloat16(self, outputs: Sequence[str], inputs: Mapping[str, Array], _options: None) -> list[Array]:
        """numpy has no bfloat16: its bits go in and out of tensors that say what they are."""
        # The tensors lie on the arrays' own memory, which must therefore live and be contiguous.
        arrays = {name: np.ascontiguousarray(array).reshape(array.shape) for name, array in inputs.items()}
        values = {
            name: (
                ort.OrtValue.ortvalue_from_numpy_with_onnx_type(array, _BFLOAT16)
                if name in self._bfloat16
                else ort.OrtValue.ortvalue_from_numpy(array)
            )._ortvalue
            for name, array in arrays.items()
        }
        answers = self._session._sess.run_with_ort_values(values, list(outputs), None)
        return [
            _bits(value) if name in self._bfloat16 else value.numpy()
            for name, value in zip(outputs, answers, strict=True)
        ]

    def close(self) -> None:
        del self._session, self._run


def _bits(value: Any) -> Array:
    """A copy of the elements as uint16."""
    shape = tuple(value.shape())
    size = value.tensor_size_in_bytes()
    return np.frombuffer(ctypes.string_at(value.data_ptr(), size) if size else b"", np.uint16).reshape(shape)


def load(
    model: Path,
    device: str,
    threads: int,
    wanted: Sequence[str] = (),
    cache: Path | None = None,
    limit: int = 1,
    cuda_graph: bool = False,
) -> OnnxEngine:
    """Open a session with full graph optimisation, `threads` intra-op threads and no spinning.

    `wanted` is HALDANE_PROVIDERS, `cache` a folder for what a provider builds from this model, `limit`
    the largest batch in rows, `cuda_graph` whether runs are recorded once and replayed.

    Raises:
        LoadError: InvalidConfiguration, DeviceUnavailable, InvalidModel.
    """
    chosen = providers.choose(device, wanted)
    providers.require_available(chosen, ort.get_available_providers())
    if device == "gpu":
        ort.preload_dlls()
    options = _session_options(threads)
    for key, value in providers.session_entries(chosen).items():
        options.add_session_config_entry(key, value)
    try:
        signature = _signature_alone(model) if "TensorRT" in chosen or cuda_graph else None
        if signature is not None and cuda_graph:
            providers.require_graph(signature, chosen)
        if cache is not None and "TensorRT" in chosen:
            cache.mkdir(parents=True, exist_ok=True)
        session = ort.InferenceSession(
            str(model), options, providers=providers.options(chosen, cache, signature, limit, cuda_graph)
        )
    except LoadError:
        raise
    except Exception as error:
        raise load_error(model, device, error, ort.__version__) from error
    session.disable_fallback()
    providers.require_started(chosen, session.get_providers())
    signature = signature_of(session)
    return OnnxEngine(session, signature, device, FixedMemory(session, signature, "cuda") if cuda_graph else None)


def _session_options(threads: int) -> ort.SessionOptions:
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # A plan of the memory is kept for ever for every combination of shapes that was seen, and saves nothing measurable.
    options.enable_mem_pattern = False
    options.log_severity_level = 4
    return options


def _signature_alone(model: Path) -> ModelSignature:
    """Before a provider is given the model: on the CPU, without optimisation."""
    options = _session_options(1)
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    return signature_of(ort.InferenceSession(str(model), options, providers=["CPUExecutionProvider"]))


def signature_of(session: ort.InferenceSession) -> ModelSignature:
    """Raises: LoadError: InvalidModel, for an input or output that no client could send or read."""
    return ModelSignature(
        tuple(_spec("input", node) for node in session.get_inputs()),
        tuple(_spec("output", node) for node in session.get_outputs()),
    )


def _spec(kind: str, node: Any) -> TensorSpec:
    datatype = _DATATYPE.get(node.type)
    if datatype is None:
        advice = " (with skl2onnx: options={'zipmap': False})" if node.type.startswith("seq(map") else ""
        raise LoadError(
            Reason.INVALID_MODEL,
            f"The model's {kind} '{node.name}' is a {node.type}, which is not served; export it as a tensor of "
            f"numbers, booleans or strings{advice}.",
        )
    return TensorSpec(node.name, datatype, tuple(dim if dim is not None else "" for dim in node.shape))


def build() -> tuple[str, list[str]]:
    """ONNX Runtime's version, and the providers that it was built with, by the names of HALDANE_PROVIDERS."""
    names = {long: short for short, long in providers.EXECUTION_PROVIDER.items()}
    return ort.__version__, [names[name] for name in ort.get_available_providers() if name in names]
