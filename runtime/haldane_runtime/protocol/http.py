"""The FastAPI application: Open Inference Protocol v2, `/v1/predict`, probes and metrics.

Every error is `{"error": "…"}` with the status that `core.errors` gives its code.
"""

import logging
import math
from importlib.metadata import version
from typing import Any

from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from haldane_runtime.core.dataplane import DataPlane
from haldane_runtime.core.errors import HTTP_STATUS, RequestError
from haldane_runtime.observe.metrics import CONTENT_TYPE
from haldane_runtime.protocol.codec import dumps
from haldane_runtime.protocol.frame import CLIENT_CLOSED_REQUEST, RequestFrame
from haldane_runtime.protocol.inference import Inference, routes
from haldane_runtime.protocol.metadata import model_metadata as describe

log = logging.getLogger(__name__)


def retry_after(error: RequestError) -> str:
    """Whole seconds, as HTTP wants them, at least 1."""
    return str(max(1, math.ceil(error.retry_after or 0)))


def create_app(plane: DataPlane, request_bytes: int, request_timeout: float) -> FastAPI:
    """The whole HTTP surface of a data plane; sizes in bytes, times in seconds."""
    app = FastAPI(title="Haldane runtime", version=version("haldane-operator"), redoc_url=None)
    app.add_middleware(RequestFrame, plane=plane)
    app.include_router(routes(Inference(plane, request_bytes, request_timeout)))
    _add_probes(app, plane)
    _add_protocol(app, plane)
    _add_errors(app)
    return app


def _json(document: dict[str, Any], status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(dumps(document), status, headers, media_type="application/json")


def _add_probes(app: FastAPI, plane: DataPlane) -> None:
    async def startup() -> Response:
        """The process is up; `state` says whether the model is still loading."""
        return _json({"started": True, "state": plane.state})

    async def ready() -> Response:
        """200 when loaded, warmed and not draining, else 503. Both names, as clients read either."""
        answer: dict[str, Any] = {"ready": plane.ready, "live": plane.live, "state": plane.state}
        if plane.ready:
            return _json(answer)
        return _json(answer | {"error": plane.hindrance}, 503)

    async def live() -> Response:
        """200 as long as a restart would not help."""
        answer: dict[str, Any] = {"live": plane.live, "ready": plane.ready}
        if plane.live:
            return _json(answer)
        return _json(answer | {"error": "the engine thread has ended; the process must be restarted"}, 503)

    async def expose() -> Response:
        """Prometheus metrics in text format."""
        return Response(plane.metrics.exposition(), media_type=CONTENT_TYPE)

    app.add_api_route("/startup", startup, tags=["probes"])
    app.add_api_route("/ready", ready, tags=["probes"])
    app.add_api_route("/health", live, tags=["probes"])
    app.add_api_route("/metrics", expose, tags=["probes"])
    app.add_api_route("/v2/health/live", live, tags=["protocol"])
    app.add_api_route("/v2/health/ready", ready, tags=["protocol"])


def _add_protocol(app: FastAPI, plane: DataPlane) -> None:
    server = {"name": "haldane", "version": app.version, "extensions": []}

    async def server_metadata() -> Response:
        """Server metadata."""
        return _json(server)

    async def model_metadata(request: Request) -> Response:
        """Inputs and outputs of the model."""
        path = request.path_params
        return _json(describe(plane.find(path["model"], path.get("version")).model))

    async def model_ready(request: Request) -> Response:
        """200 when this model serves, else 503."""
        path = request.path_params
        instance = plane.find(path["model"], path.get("version"))
        name = instance.model.name
        if plane.serving and instance.ready:
            return _json({"name": name, "ready": True})
        return _json({"name": name, "ready": False, "error": f"the server is {plane.state}"}, 503)

    app.add_api_route("/v2", server_metadata, tags=["protocol"])
    for base in ("/v2/models/{model}", "/v2/models/{model}/versions/{version}"):
        app.add_api_route(base, model_metadata, tags=["protocol"])
        app.add_api_route(f"{base}/ready", model_ready, tags=["protocol"])


def _add_errors(app: FastAPI) -> None:
    async def refused(_: Request, error: Exception) -> Response:
        assert isinstance(error, RequestError)
        headers = None
        if error.retry_after is not None:
            headers = {"Retry-After": retry_after(error)}
        return _json({"error": error.message}, HTTP_STATUS[error.code], headers)

    async def unroutable(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        known = {404: f"there is no {request.url.path} here; see /docs", 405: f"{request.method} is not allowed here"}
        headers = dict(error.headers) if error.headers else None
        return _json({"error": known.get(error.status_code, str(error.detail))}, error.status_code, headers)

    async def left(_: Request, __: Exception) -> Response:
        return _json({"error": "the client left before its request was read"}, CLIENT_CLOSED_REQUEST)

    app.add_exception_handler(RequestError, refused)
    app.add_exception_handler(HTTPException, unroutable)
    app.add_exception_handler(ClientDisconnect, left)
