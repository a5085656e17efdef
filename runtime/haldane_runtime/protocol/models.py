"""The routes that tell of the server and its models: Open Inference Protocol v2, and what KServe's v1 asks."""

from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import APIRouter, Request, Response

from haldane_runtime.core.dataplane import DataPlane
from haldane_runtime.core.instance import ModelInstance
from haldane_runtime.protocol.codec import dumps
from haldane_runtime.protocol.metadata import EXTENSIONS, model_configuration, model_metadata, model_statistics


def answer(document: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """JSON as every route here gives it."""
    return Response(dumps(document), status, headers, media_type="application/json")


def model_routes(plane: DataPlane, version: str) -> APIRouter:
    """All of them; `version` is the server's own."""
    router = APIRouter(tags=["protocol"])
    _add_server(router, version)
    _add_models(router, plane)
    _add_v1(router, plane)
    return router


def _add_server(router: APIRouter, version: str) -> None:
    async def server_metadata() -> Response:
        """Name, version and the extensions of the protocol that are served."""
        return answer({"name": "haldane", "version": version, "extensions": EXTENSIONS})

    async def alive() -> Response:
        """KServe's v1 clients ask here whether the server lives."""
        return answer({"status": "alive", "documentation": "/docs"})

    router.add_api_route("/v2", server_metadata)
    router.add_api_route("/", alive)


def _add_models(router: APIRouter, plane: DataPlane) -> None:
    def about(describe: Callable[[ModelInstance], Any], text: str) -> Callable[[Request], Awaitable[Response]]:
        async def route(request: Request) -> Response:
            path = request.path_params
            return answer(describe(plane.find(path["model"], path.get("version"))))

        route.__doc__ = text
        return route

    def metadata(instance: ModelInstance) -> dict[str, Any]:
        model = instance.model
        return model_metadata(
            model, [other.model.version for other in plane.instances if other.model.name == model.name]
        )

    def statistics(instance: ModelInstance) -> dict[str, Any]:
        return model_statistics(instance.model, instance.metrics)

    async def all_statistics() -> Response:
        """Counts and times of every model since the start."""
        return answer({"model_stats": [statistics(instance) for instance in plane.instances]})

    router.add_api_route("/v2/models/stats", all_statistics)
    for base in ("/v2/models/{model}", "/v2/models/{model}/versions/{version}"):
        router.add_api_route(f"{base}/ready", _readiness(plane))
        for path, describe, text in (
            ("", metadata, "Inputs and outputs of the model."),
            ("/config", model_configuration, "The model's configuration, in the form that Triton's clients read."),
            ("/stats", lambda instance: {"model_stats": [statistics(instance)]}, "Counts and times since the start."),
        ):
            router.add_api_route(base + path, about(describe, text), name=f"model{path.replace('/', '_')}")


def _add_v1(router: APIRouter, plane: DataPlane) -> None:
    async def names() -> Response:
        """The names of the models that are served."""
        return answer({"models": sorted({instance.model.name for instance in plane.instances})})

    router.add_api_route("/v1/models", names)
    router.add_api_route("/v2/models", names, name="names_v2")
    router.add_api_route("/v1/models/{model}", _readiness(plane))


def _readiness(plane: DataPlane) -> Callable[[Request], Awaitable[Response]]:
    async def ready(request: Request) -> Response:
        """200 when this model serves, else 503."""
        path = request.path_params
        instance = plane.find(path["model"], path.get("version"))
        name = instance.model.name
        if plane.serving and instance.ready:
            return answer({"name": name, "ready": True})
        return answer({"name": name, "ready": False, "error": f"the server is {plane.state}"}, 503)

    return ready
