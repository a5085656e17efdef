"""Answers as bytes, from parts that are made once for a model."""

import orjson

from haldane_runtime.core.types import InferResponse, ServedModel
from haldane_runtime.protocol.codec import encode_infer

# Kinds of numpy dtype that orjson writes as numbers: float, signed, unsigned, boolean.
_NUMBERS = frozenset("fiub")
_MAX_HEADS = 256


class Encoder:
    """Encodes the answers of one model."""

    def __init__(self, model: ServedModel) -> None:
        name, version = orjson.dumps(model.name), orjson.dumps(model.version)
        self._start = b'{"model_name":%b,"model_version":%b,"id":' % (name, version)
        self._outputs = {
            spec.name: b'{"name":%b,"datatype":"%b","shape":' % (orjson.dumps(spec.name), spec.datatype.encode())
            for spec in model.signature.outputs
        }
        self._heads: dict[tuple[str, tuple[int, ...]], bytes] = {}

    def encode(
        self, response: InferResponse, request_id: str, milliseconds: float, binary: frozenset[str]
    ) -> tuple[bytes, int | None]:
        """The body and, when it holds raw tensors, the length of the JSON before them; see `codec.encode_infer`."""
        pieces: list[bytes] = []
        raw: list[memoryview] = []
        for name, array in response.outputs.items():
            if array.dtype.kind not in _NUMBERS or not array.ndim or not array.flags.c_contiguous:
                return encode_infer(response, request_id, milliseconds, binary)
            shape = array.shape
            head = self._heads.get((name, shape))
            if head is None:
                if len(self._heads) >= _MAX_HEADS:
                    self._heads.clear()
                head = self._heads[name, shape] = self._outputs[name] + orjson.dumps(shape)
            if name in binary:
                raw.append(array.data)
                pieces.append(b'%b,"parameters":{"binary_data_size":%d}}' % (head, array.nbytes))
            else:
                data = orjson.dumps(array.reshape(-1), option=orjson.OPT_SERIALIZE_NUMPY)
                pieces.append(b'%b,"data":%b}' % (head, data))
        body = b'%b%b,"parameters":{"time_ms":%.3f},"outputs":[%b]}' % (
            self._start,
            orjson.dumps(request_id),
            milliseconds,
            b",".join(pieces),
        )
        if not raw:
            return body, None
        return b"".join((body, *raw)), len(body)
