"""The routes that run the model: OIP v2 `infer` and the plain `predict`.

No pydantic on the way: the body goes from bytes to numpy in one pass of `codec` or `instances`.
"""

import os
import time
from collections.abc import Callable

from fastapi import APIRouter, Request, Response

from haldane_runtime.core.dataplane import DataPlane
from haldane_runtime.core.errors import Code, RequestError, invalid
from haldane_runtime.core.types import InferRequest, InferResponse, ModelSignature
from haldane_runtime.protocol.body import read_body
from haldane_runtime.protocol.codec import decode_infer, encode_infer
from haldane_runtime.protocol.frame import mark_inference, sign_version, started_at
from haldane_runtime.protocol.instances import decode_instances, encode_predictions
from haldane_runtime.protocol.schema import INFER_SCHEMA, PREDICT_SCHEMA

TIMEOUT_HEADER = "x-request-timeout"
REQUEST_ID_HEADER = "x-request-id"

Decode = Callable[[bytes, ModelSignature], tuple[str | None, InferRequest]]
Encode = Callable[[InferResponse, str, float], bytes]


class Inference:
    """Runs one request from its body to its answer, for both forms of JSON."""

    def __init__(
        self, plane: DataPlane, request_bytes: int, request_timeout: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._plane = plane
        self._request_bytes = request_bytes
        self._request_timeout = request_timeout
        self._clock = clock

    async def answer(self, request: Request, decode: Decode, encode: Encode) -> Response:
        path = request.path_params
        mark_inference(request.scope, self._plane.metrics_of(path.get("model")))
        started = started_at(request.scope)
        timeout = self._timeout(request)
        deadline = started + timeout
        instance = self._plane.find(path.get("model"), path.get("version"))
        sign_version(request.scope, instance.model.version)
        if "inference-header-content-length" in request.headers:
            raise invalid("binary tensors are not served here; send every tensor's 'data' as JSON")
        try:
            # Before the body, which would otherwise fill the memory of a server that cannot take it anyway.
            instance.admit(int(request.headers.get("content-length", "0") or 0), deadline)
            body = await read_body(request, self._request_bytes, max(0.0, deadline - self._clock()))
            request_id, tensors = decode(body, instance.model.signature)
            response = await instance.infer(tensors, deadline)
        except RequestError as error:
            if error.code in (Code.DEADLINE_EXCEEDED, Code.WOULD_BE_LATE) and timeout < self._request_timeout:
                raise RequestError(
                    Code.CLIENT_DEADLINE_EXCEEDED,
                    f"the model did not answer within the {timeout:g} s that {TIMEOUT_HEADER} allows; allow more",
                ) from error
            raise
        request_id = request_id or request.headers.get(REQUEST_ID_HEADER) or new_request_id()
        milliseconds = (self._clock() - started) * 1000
        return Response(encode(response, request_id, milliseconds), media_type="application/json")

    def _timeout(self, request: Request) -> float:
        """Seconds; a client may ask for less than the server's own limit, not for more."""
        value = request.headers.get(TIMEOUT_HEADER)
        if value is None:
            return self._request_timeout
        try:
            seconds = float(value)
        except ValueError:
            seconds = 0.0
        if not seconds > 0:
            raise invalid(f"the header {TIMEOUT_HEADER} must be a number of seconds above 0, got '{value}'")
        return min(seconds, self._request_timeout)


def new_request_id() -> str:
    return os.urandom(8).hex()


def _decode_instances(body: bytes, signature: ModelSignature) -> tuple[str | None, InferRequest]:
    return None, decode_instances(body, signature)


def routes(inference: Inference) -> APIRouter:
    """`infer` with and without a version, `predict` with and without the model's name."""
    router = APIRouter()

    async def infer(request: Request) -> Response:
        """Infer by the Open Inference Protocol v2: named tensors with shape and datatype."""
        return await inference.answer(request, decode_infer, encode_infer)

    async def predict(request: Request) -> Response:
        """Predict for rows: `{"instances": [...]}`, each row a list or an object by input name."""
        return await inference.answer(request, _decode_instances, encode_predictions)

    for path in ("/v2/models/{model}/infer", "/v2/models/{model}/versions/{version}/infer"):
        router.add_api_route(path, infer, methods=["POST"], tags=["inference"], openapi_extra=INFER_SCHEMA)
    for path in ("/v1/predict", "/v1/models/{model}:predict"):
        router.add_api_route(path, predict, methods=["POST"], tags=["inference"], openapi_extra=PREDICT_SCHEMA)
    return router
