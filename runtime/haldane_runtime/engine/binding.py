"""Runs on the same memory of the device each time, as a CUDA graph needs: it replays kernels with their addresses."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnxruntime as ort

from haldane_runtime.core.types import NUMPY_DTYPE, Array, ModelSignature, TensorSpec


class FixedMemory:
    """A session's inputs and outputs, all of fixed shapes, bound once. One thread at a time.

    All outputs are computed in every run, whichever are asked for.
    """

    def __init__(self, session: Any, signature: ModelSignature, memory: str) -> None:
        """`memory` is cuda, or cpu where there is no graph to replay."""
        self._session = session
        self._inputs = {spec.name: _allocate(spec, memory) for spec in signature.inputs}
        self._outputs = {spec.name: _allocate(spec, memory) for spec in signature.outputs}
        self._binding = session.io_binding()
        for name, value in self._inputs.items():
            self._binding.bind_ortvalue_input(name, value)
        for name, value in self._outputs.items():
            self._binding.bind_ortvalue_output(name, value)

    def run(self, outputs: Sequence[str], inputs: Mapping[str, Array], _options: None) -> list[Array]:
        """As `InferenceSession.run`; the answers are copies.

        Raises:
            ValueError: a shape other than the bound one, which would overrun the memory.
        """
        for name, value in self._inputs.items():
            array = inputs[name]
            if list(array.shape) != value.shape():
                raise ValueError(f"the input '{name}' must be of shape {value.shape()}, got {list(array.shape)}")
            value.update_inplace(np.ascontiguousarray(array))
        self._session.run_with_iobinding(self._binding)
        return [self._outputs[name].numpy().copy() for name in outputs]


def _allocate(spec: TensorSpec, memory: str) -> Any:
    return ort.OrtValue.ortvalue_from_shape_and_type(list(spec.dims), NUMPY_DTYPE[spec.datatype].type, memory, 0)
