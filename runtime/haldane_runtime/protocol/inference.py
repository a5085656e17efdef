"""The routes that run the model: OIP v2 `infer` and the plain `predict`.

No pydantic on the way: the body goes from bytes to numpy in one pass of `codec` or `instances`.
"""

import asyncio
import os
import time
from collections.abc import Callable

from fastapi import APIRouter, Request, Response

from haldane_runtime.core.dataplane import DataPlane
from haldane_runtime.core.errors import RequestError, invalid, missed_deadline
from haldane_runtime.core.types import InferResponse, ModelSignature
from haldane_runtime.core.watch import Prediction
from haldane_runtime.protocol.body import read_body
from haldane_runtime.protocol.codec import HEADER_LENGTH, Decoded, decode_infer, encode_infer, header_length
from haldane_runtime.protocol.compression import compressed
from haldane_runtime.protocol.disconnect import while_connected
from haldane_runtime.protocol.frame import (
    mark_arrival,
    mark_id,
    mark_inference,
    sign_version,
    started_at,
    watch_prediction,
)
from haldane_runtime.protocol.headers import REQUEST_ID_HEADER, only
from haldane_runtime.protocol.instances import decode_instances, encode_predictions
from haldane_runtime.protocol.parameters import NONE, timeout_seconds
from haldane_runtime.protocol.schema import INFER_SCHEMA, PREDICT_SCHEMA

TIMEOUT_HEADER = "x-request-timeout"
# Reading or writing more takes milliseconds, in which the event loop should have turns for others.
LONG_BYTES = 1 << 19

Decode = Callable[[bytes, int | None, ModelSignature], Decoded]
Encode = Callable[[InferResponse, str, float, frozenset[str]], tuple[bytes, int | None]]


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
        name = f"POST {request.scope['route'].path}"
        told = watch_prediction(request.scope, self._plane.watch, name) or Prediction("")
        told.id = request.headers.get(REQUEST_ID_HEADER) or new_request_id()
        try:
            return await self._answer(request, decode, encode, told)
        except RequestError as error:
            told.outcome = error.message
            raise
        finally:
            mark_id(request.scope, told.id)

    async def _answer(self, request: Request, decode: Decode, encode: Encode, told: Prediction) -> Response:
        path = request.path_params
        started = started_at(request.scope)
        timeout, whose = self._timeout(request), TIMEOUT_HEADER
        deadline = started + timeout
        instance = self._plane.find(path.get("model"), path.get("version"))
        told.model, told.version = instance.model.name, instance.model.version
        sign_version(request.scope, instance.model.version)
        json_bytes = header_length(only(request.headers, HEADER_LENGTH))
        arrived = started
        instance.hold()
        try:
            # Before the body, which would otherwise fill the memory of a server that cannot take it anyway.
            instance.admit(int(request.headers.get("content-length", "0") or 0), deadline)
            body = await read_body(request, self._request_bytes, max(0.0, deadline - self._clock()), self._plane.intake)
            begun = arrived = self._clock()
            mark_arrival(request.scope, arrived)
            signature = instance.model.signature
            if len(body) > LONG_BYTES:
                decoded = await asyncio.to_thread(decode, body, json_bytes, signature)
            else:
                decoded = decode(body, json_bytes, signature)
            told.decode, told.request = self._clock() - begun, decoded.request
            # Known from here on also to who is told of a failure.
            told.id = decoded.id or told.id
            own = timeout_seconds(decoded.parameters)
            if own is not None and own < timeout:
                timeout, whose, deadline = own, "the parameter 'timeout'", started + own
            response = await while_connected(request, instance.infer(decoded.request, deadline))
        except RequestError as error:
            told.id = error.request_id or told.id
            impatient = timeout < self._request_timeout
            worded = missed_deadline(error, timeout, arrived - started, impatient, whose)
            if worded is error:
                raise
            raise worded from error
        finally:
            instance.release()
        told.queue, told.infer = response.queue_seconds, response.infer_seconds
        begun = self._clock()
        milliseconds = (begun - started) * 1000
        if sum(array.nbytes for array in response.outputs.values()) > LONG_BYTES:
            encoded, json_bytes = await asyncio.to_thread(encode, response, told.id, milliseconds, decoded.binary)
        else:
            encoded, json_bytes = encode(response, told.id, milliseconds, decoded.binary)
        answer = await _answer(encoded, json_bytes, request.headers.get("accept-encoding"))
        told.encode = self._clock() - begun
        return answer

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


async def _answer(body: bytes, json_bytes: int | None, accept_encoding: str | None) -> Response:
    """With binary data, the header counts the JSON before the body was compressed."""
    body, coding = await compressed(body, accept_encoding)
    headers = {"content-encoding": coding} if coding else {}
    if json_bytes is None:
        return Response(body, headers=headers, media_type="application/json")
    headers[HEADER_LENGTH] = str(json_bytes)
    return Response(body, headers=headers, media_type="application/octet-stream")


def _decode_instances(body: bytes, json_bytes: int | None, signature: ModelSignature) -> Decoded:
    if json_bytes is not None:
        raise invalid("rows are sent as JSON; send binary tensors to /v2/models/<model>/infer")
    return Decoded(None, decode_instances(body, signature), frozenset(), NONE)


def _encode_predictions(
    response: InferResponse, request_id: str, milliseconds: float, _: frozenset[str]
) -> tuple[bytes, int | None]:
    return encode_predictions(response, request_id, milliseconds), None


def routes(inference: Inference) -> APIRouter:
    """`infer` with and without a version, `predict` with and without the model's name."""
    router = APIRouter()

    async def infer(request: Request) -> Response:
        """Infer by the Open Inference Protocol v2: named tensors with shape and datatype."""
        return await inference.answer(request, decode_infer, encode_infer)

    async def predict(request: Request) -> Response:
        """Predict for rows: `{"instances": [...]}`, each row a list or an object by input name."""
        return await inference.answer(request, _decode_instances, _encode_predictions)

    for path in ("/v2/models/{model}/infer", "/v2/models/{model}/versions/{version}/infer"):
        router.add_api_route(path, infer, methods=["POST"], tags=["inference"], openapi_extra=INFER_SCHEMA)
    for path in ("/v1/predict", "/v1/models/{model}:predict"):
        router.add_api_route(path, predict, methods=["POST"], tags=["inference"], openapi_extra=PREDICT_SCHEMA)
    return router
