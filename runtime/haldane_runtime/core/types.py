"""Tensors, signatures, requests and answers, as every layer of the runtime knows them."""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


class Datatype(StrEnum):
    """Tensor element types by their names in the Open Inference Protocol."""

    BOOL = "BOOL"
    UINT8 = "UINT8"
    UINT16 = "UINT16"
    UINT32 = "UINT32"
    UINT64 = "UINT64"
    INT8 = "INT8"
    INT16 = "INT16"
    INT32 = "INT32"
    INT64 = "INT64"
    FP16 = "FP16"
    BF16 = "BF16"
    FP32 = "FP32"
    FP64 = "FP64"
    BYTES = "BYTES"


NUMPY_DTYPE: Mapping[Datatype, np.dtype[Any]] = {
    Datatype.BOOL: np.dtype(np.bool_),
    Datatype.UINT8: np.dtype(np.uint8),
    Datatype.UINT16: np.dtype(np.uint16),
    Datatype.UINT32: np.dtype(np.uint32),
    Datatype.UINT64: np.dtype(np.uint64),
    Datatype.INT8: np.dtype(np.int8),
    Datatype.INT16: np.dtype(np.int16),
    Datatype.INT32: np.dtype(np.int32),
    Datatype.INT64: np.dtype(np.int64),
    Datatype.FP16: np.dtype(np.float16),
    # numpy has no bfloat16: its bits are carried as they are.
    Datatype.BF16: np.dtype(np.uint16),
    Datatype.FP32: np.dtype(np.float32),
    Datatype.FP64: np.dtype(np.float64),
    Datatype.BYTES: np.dtype(np.object_),
}

FLOATS = frozenset({Datatype.FP16, Datatype.FP32, Datatype.FP64})


def tensor_bytes(tensors: Iterable[Array]) -> int:
    """About how much memory the tensors take, in bytes.

    An array of text holds references alone: the length of each element is added (a character that is
    not ASCII takes up to four times as much). Elements without a length count as their reference.
    """
    total = 0
    for array in tensors:
        total += array.nbytes
        if array.dtype.hasobject:
            with suppress(TypeError):
                total += sum(map(len, array.ravel().tolist()))
    return total


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One input or output of a model.

    `shape` holds an int for a fixed dimension, a name for a symbolic one and "" for one that is
    dynamic without a name. ONNX Runtime reports a scalar and an unknown rank alike, as `()`, so
    that an empty shape means "not checked here".
    """

    name: str
    datatype: Datatype
    shape: tuple[int | str, ...]

    @property
    def dims(self) -> list[int]:
        """The shape as the Open Inference Protocol writes it: -1 for a dynamic dimension."""
        return [dim if isinstance(dim, int) else -1 for dim in self.shape]

    def __str__(self) -> str:
        return f"{self.datatype} of shape {self.dims}"


@dataclass(frozen=True, slots=True)
class ModelSignature:
    """Inputs and outputs of a model, in the model's own order."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


@dataclass(frozen=True, slots=True)
class ServedModel:
    """A loaded model: `digest` is the sha256 in hex of what was loaded, `device` is cpu or gpu."""

    name: str
    version: str
    digest: str
    device: str
    signature: ModelSignature
    precision: str = "fp32"


# One of these is made for every request; a frozen dataclass costs three times as much to make.
@dataclass(slots=True)
class InferRequest:
    """Validated inputs by name. `outputs` are the wanted output names in order, never empty."""

    inputs: Mapping[str, Array]
    outputs: tuple[str, ...]


@dataclass(slots=True)
class InferResponse:
    """Outputs by name in the order asked for, and where the time went, in seconds."""

    model: ServedModel
    outputs: Mapping[str, Array]
    queue_seconds: float
    infer_seconds: float
