"""One served model as the hot path sees it: its decoder, its encoder and the constant part of its answers."""

from haldane_runtime.core.types import InferResponse
from haldane_runtime.protocol.codec import HEADER_LENGTH
from haldane_runtime.protocol.fast.decode import Decoder, Plain
from haldane_runtime.protocol.fast.encode import Encoder
from haldane_runtime.protocol.fast.served import Served
from haldane_runtime.protocol.frame import REVISION_HEADER, VERSION_HEADER
from haldane_runtime.protocol.instances import decode_instances, encode_predictions

_NO_BINARY: frozenset[str] = frozenset()


Answer = tuple[bytes, bytes]
"""A successful answer: header lines that end in CR LF, and the body."""


class HotModel:
    """Decodes and encodes for one model instance."""

    def __init__(self, instance: Served, revision: str) -> None:
        self.instance = instance
        model = instance.model
        self._signature = model.signature
        self._decoder = Decoder(model.signature)
        self._encoder = Encoder(model)
        self.signature_headers = signature_headers(revision, model.version)
        self._json = b"content-type: application/json\r\n" + self.signature_headers
        self._binary = b"content-type: application/octet-stream\r\n" + self.signature_headers

    def decode(self, body: bytes | memoryview, json_length: int | None) -> Plain | None:
        """See `Decoder.decode`."""
        return self._decoder.decode(body, json_length)

    def decode_rows(self, body: bytes) -> Plain:
        """The body of `predict`. Raises: RequestError: INVALID."""
        return Plain(None, decode_instances(body, self._signature), _NO_BINARY)

    def answer(self, response: InferResponse, request_id: str, milliseconds: float, binary: frozenset[str]) -> Answer:
        """The answer to `infer`."""
        body, json_length = self._encoder.encode(response, request_id, milliseconds, binary)
        if json_length is None:
            return self._json, body
        return b"%b%b: %d\r\n" % (self._binary, HEADER_LENGTH.encode(), json_length), body

    def answer_rows(self, response: InferResponse, request_id: str, milliseconds: float) -> Answer:
        """The answer to `predict`."""
        return self._json, encode_predictions(response, request_id, milliseconds)


def signature_headers(revision: str, version: str | None) -> bytes:
    """The header lines that say which revision and version answered."""
    lines = ((REVISION_HEADER, revision), (VERSION_HEADER, version))
    return b"".join(b"%b: %b\r\n" % (name, value.encode("latin-1", "replace")) for name, value in lines if value)
