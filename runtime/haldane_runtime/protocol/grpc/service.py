"""inference.GRPCInferenceService: what the protocol asks of a server, answered by the data plane."""

from collections.abc import Callable, Mapping
from importlib.metadata import version
from typing import Any

from google.protobuf.json_format import ParseDict

from haldane_runtime.core.dataplane import DataPlane
from haldane_runtime.core.errors import Code, RequestError
from haldane_runtime.core.instance import ModelInstance
from haldane_runtime.protocol.grpc.call import GrpcCall, Method, Shared
from haldane_runtime.protocol.grpc.infer import Infer
from haldane_runtime.protocol.grpc.schema import INFERENCE, message_class, method_path, methods
from haldane_runtime.protocol.grpc.status import Status, Unserved
from haldane_runtime.protocol.grpc.tensors import parameter_values
from haldane_runtime.protocol.grpc.unary import Unary
from haldane_runtime.protocol.metadata import EXTENSIONS, model_configuration, model_metadata, model_statistics
from haldane_runtime.repository.repository import ModelRepository

Answer = Callable[[Any, Any], Any]
"""From a request and an empty response to a full one, or to something that can be awaited for it."""


def inference_methods(plane: DataPlane, repository: ModelRepository, shared: Shared) -> dict[bytes, Method]:
    """Every method of the service by its path."""
    answers = {**_models(plane), **_repository(repository)}
    served: dict[bytes, Method] = {
        method_path(INFERENCE, "ModelInfer"): Infer(plane, shared),
        method_path(INFERENCE, "ModelStreamInfer"): _Streaming(),
    }
    for method in methods(INFERENCE):
        if answer := answers.get(method.name):
            request, response = (message_class(kind.full_name) for kind in (method.input_type, method.output_type))
            served[method_path(INFERENCE, method.name)] = Unary(request, _into(answer, response))
    return served


def _into(answer: Answer, response: Any) -> Callable[[Any], Any]:
    return lambda request: answer(request, response())


class _Streaming(Method):
    """Refused with the first message or the end, not before: a client that is still writing would tell of that instead."""

    streaming = True

    def message(self, call: GrpcCall, data: bytes | memoryview) -> None:
        self.ended(call)

    def ended(self, call: GrpcCall) -> None:
        raise Unserved(
            Status.UNIMPLEMENTED,
            "ModelStreamInfer is not served: every request has one answer here; call ModelInfer, of which any number may "
            "run at a time on one connection",
        )


def _models(plane: DataPlane) -> Mapping[str, Answer]:
    def find(request: Any) -> ModelInstance:
        return plane.find(request.name or None, request.version or None)

    def server_live(_: Any, response: Any) -> Any:
        response.live = plane.live
        return response

    def server_ready(_: Any, response: Any) -> Any:
        response.ready = plane.ready
        return response

    def server_metadata(_: Any, response: Any) -> Any:
        return ParseDict(
            {"name": "haldane", "version": version("haldane-operator"), "extensions": EXTENSIONS}, response
        )

    def model_ready(request: Any, response: Any) -> Any:
        try:
            response.ready = find(request).ready
        except RequestError as error:
            # A model that loads, or could not be loaded, is not ready; only one that nobody knows is an error.
            if error.code is not Code.UNAVAILABLE:
                raise
        return response

    def metadata(request: Any, response: Any) -> Any:
        model = find(request).model
        versions = [other.model.version for other in plane.instances if other.model.name == model.name]
        return ParseDict(model_metadata(model, versions), response)

    def configuration(request: Any, response: Any) -> Any:
        return ParseDict({"config": model_configuration(find(request))}, response)

    def statistics(request: Any, response: Any) -> Any:
        instances = plane.instances if not request.name else [find(request)]
        stats = [model_statistics(instance.model, instance.metrics) for instance in instances]
        return ParseDict({"model_stats": stats}, response)

    return {
        "ServerLive": server_live,
        "ServerReady": server_ready,
        "ServerMetadata": server_metadata,
        "ModelReady": model_ready,
        "ModelMetadata": metadata,
        "ModelConfig": configuration,
        "ModelStatistics": statistics,
    }


def _repository(repository: ModelRepository) -> Mapping[str, Answer]:
    async def index(request: Any, response: Any) -> Any:
        for entry in await repository.index(request.ready):
            response.models.add(name=entry.name, version=entry.version, state=entry.state, reason=entry.reason)
        return response

    async def load(request: Any, response: Any) -> Any:
        response.model_name = _named(request)
        await repository.load(response.model_name, parameter_values(request.parameters))
        response.is_loaded = True
        return response

    async def unload(request: Any, response: Any) -> Any:
        response.model_name = _named(request)
        await repository.unload(response.model_name, parameter_values(request.parameters))
        response.is_unloaded = True
        return response

    return {"RepositoryIndex": index, "RepositoryModelLoad": load, "RepositoryModelUnload": unload}


def _named(request: Any) -> str:
    """Triton's clients put the model's name in field 2, KServe's in field 1, where Triton's have the repository's."""
    name: str = request.model_name or request.repository_name
    return name
