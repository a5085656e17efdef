"""The FastAPI application: Open Inference Protocol v2, `/v1/predict`, probes and metrics.

Every error is `{"error": "…"}` with the status that `core.errors` gives its code.
"""

import logging
from collections.abc import Callable, Sequence
from importlib.metadata import version
from typing import Any

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from haldane_runtime.core.dataplane import DataPlane
from haldane_runtime.core.errors import HTTP_STATUS, Code, RequestError
from haldane_runtime.observe.metrics import CONTENT_TYPE
from haldane_runtime.protocol.codec import dumps
from haldane_runtime.protocol.compression import CODINGS
from haldane_runtime.protocol.documentation import documentation_routes
from haldane_runtime.protocol.frame import CLIENT_CLOSED_REQUEST, RequestFrame
from haldane_runtime.protocol.headers import retry_after
from haldane_runtime.protocol.inference import Inference, routes
from haldane_runtime.protocol.lingering import LingeringResponse
from haldane_runtime.protocol.models import answer, model_routes

log = logging.getLogger(__name__)


def create_app(
    plane: DataPlane,
    request_bytes: int,
    request_timeout: float,
    routers: Sequence[APIRouter] = (),
    extend: Callable[[FastAPI], None] | None = None,
) -> FastAPI:
    """The whole HTTP surface of a data plane; sizes in bytes, times in seconds.

    `extend` may add to the application what it likes; its routes come after those of the server.
    """
    app = FastAPI(
        title="Haldane runtime",
        version=version("haldane-operator"),
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.haldane = (plane, request_timeout)
    app.include_router(routes(Inference(plane, request_bytes, request_timeout)))
    app.include_router(model_routes(plane, app.version))
    app.include_router(documentation_routes(app.title))
    for router in routers:
        app.include_router(router)
    _add_probes(app, plane)
    _add_errors(app)
    if extend is not None:
        extend(app)
    # Last, which is outermost: it measures what middleware does, too.
    app.add_middleware(RequestFrame, plane=plane)
    return app


def _add_probes(app: FastAPI, plane: DataPlane) -> None:
    async def startup() -> Response:
        """The process is up; `state` says whether the model is still loading."""
        return answer({"started": True, "state": plane.state})

    async def ready() -> Response:
        """200 when loaded, warmed and not draining, else 503. Both names, as clients read either."""
        document: dict[str, Any] = {"ready": plane.ready, "live": plane.live, "state": plane.state}
        if plane.ready:
            left_out = [f"model '{name}' version {version}: {why}" for (name, version), why in plane.left_out.items()]
            return answer(document | {"left_out": left_out} if left_out else document)
        return answer(document | {"error": plane.hindrance}, 503)

    async def live() -> Response:
        """200 as long as a restart would not help."""
        document: dict[str, Any] = {"live": plane.live, "ready": plane.ready}
        if plane.live:
            return answer(document)
        return answer(document | {"error": "the engine thread has ended; the process must be restarted"}, 503)

    async def expose() -> Response:
        """Prometheus metrics in text format."""
        return Response(plane.metrics.exposition(), media_type=CONTENT_TYPE)

    app.add_api_route("/startup", startup, tags=["probes"])
    app.add_api_route("/ready", ready, tags=["probes"])
    app.add_api_route("/health", live, tags=["probes"])
    app.add_api_route("/metrics", expose, tags=["probes"])
    app.add_api_route("/v2/health/live", live, tags=["protocol"])
    app.add_api_route("/v2/health/ready", ready, tags=["protocol"])


def _add_errors(app: FastAPI) -> None:
    async def refused(_: Request, error: Exception) -> Response:
        assert isinstance(error, RequestError)
        headers = {}
        if error.retry_after is not None:
            headers["Retry-After"] = retry_after(error)
        if error.code is Code.UNSUPPORTED_ENCODING:
            headers["Accept-Encoding"] = ", ".join(CODINGS)
        if error.code is Code.TOO_LARGE:
            content = dumps({"error": error.message})
            return LingeringResponse(content, HTTP_STATUS[error.code], headers, "application/json")
        if error.code is Code.BODY_TIMEOUT:
            headers["Connection"] = "close"
        return answer({"error": error.message}, HTTP_STATUS[error.code], headers)

    async def unroutable(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        known = {404: f"there is no {request.url.path} here; see /docs", 405: f"{request.method} is not allowed here"}
        headers = dict(error.headers) if error.headers else None
        return answer({"error": known.get(error.status_code, str(error.detail))}, error.status_code, headers)

    async def unfit(_: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        faults = (f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors())
        return answer({"error": f"the request does not fit this route: {'; '.join(faults)}"}, 400)

    async def left(_: Request, __: Exception) -> Response:
        return answer({"error": "the client left before its answer"}, CLIENT_CLOSED_REQUEST)

    app.add_exception_handler(RequestError, refused)
    app.add_exception_handler(HTTPException, unroutable)
    # For routes that a user adds: none of ours declares what FastAPI would check.
    app.add_exception_handler(RequestValidationError, unfit)
    app.add_exception_handler(ClientDisconnect, left)
