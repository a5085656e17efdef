"""The repository extension of the Open Inference Protocol over REST: index, load and unload.

Every body may be empty: clients send none, `{}` or parameters as they like.
"""

from typing import Any

import orjson
from fastapi import APIRouter, Request, Response

from haldane_runtime.core.errors import invalid
from haldane_runtime.protocol.body import read_body
from haldane_runtime.repository.repository import ModelRepository

BODY_BYTES = 1 << 20
BODY_SECONDS = 10.0


def repository_routes(repository: ModelRepository) -> APIRouter:
    """Index is always answered; load and unload only with model control, else 403."""
    router = APIRouter(prefix="/v2/repository", tags=["repository"])

    async def index(request: Request) -> Response:
        """Every version of every model that is served or could be, with its state and, if it is not served, why."""
        ready = (await _document(request)).get("ready", False)
        if not isinstance(ready, bool):
            raise invalid("'ready' must be true or false")
        return _json(
            [
                {"name": entry.name, "version": entry.version, "state": entry.state, "reason": entry.reason}
                for entry in await repository.index(ready)
            ]
        )

    async def load(request: Request) -> Response:
        """Load what the repository now holds of this model; answered once it is served."""
        name = request.path_params["model"]
        await repository.load(name, _parameters(await _document(request)))
        return _json({"name": name, "load": True})

    async def unload(request: Request) -> Response:
        """Stop serving this model; answered once all that waited for it is."""
        name = request.path_params["model"]
        await repository.unload(name, _parameters(await _document(request)))
        return _json({"name": name, "unload": True})

    router.add_api_route("/index", index, methods=["POST"])
    router.add_api_route("/models/{model}/load", load, methods=["POST"])
    router.add_api_route("/models/{model}/unload", unload, methods=["POST"])
    return router


async def _document(request: Request) -> dict[str, Any]:
    body = await read_body(request, BODY_BYTES, BODY_SECONDS)
    if not body.strip():
        return {}
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise invalid(f"the body is not JSON: {error}") from error
    if not isinstance(document, dict):
        raise invalid('the body must be empty or a JSON object, such as {"ready": true}')
    return document


def _parameters(document: dict[str, Any]) -> dict[str, Any]:
    parameters = document.get("parameters") or {}
    if not isinstance(parameters, dict):
        raise invalid("'parameters' must be a JSON object")
    return parameters


def _json(content: Any) -> Response:
    return Response(orjson.dumps(content), media_type="application/json")
