"""gRPC server reflection, v1 and v1alpha: what a generic client, such as grpcurl, needs to speak to this server."""

from typing import Any

from haldane_runtime.protocol.grpc.call import GrpcCall, Method
from haldane_runtime.protocol.grpc.schema import POOL, REFLECTION, SERVICES, message_class, method_path, parse
from haldane_runtime.protocol.grpc.status import Status


def reflection_methods() -> dict[bytes, Method]:
    """Both versions differ in nothing but their names."""
    return {method_path(service, "ServerReflectionInfo"): _Reflection(service) for service in REFLECTION}


class _Reflection(Method):
    streaming = True

    def __init__(self, service: str) -> None:
        package = service.rpartition(".")[0]
        self._request = message_class(f"{package}.ServerReflectionRequest")
        self._response = message_class(f"{package}.ServerReflectionResponse")

    def message(self, call: GrpcCall, data: bytes | memoryview) -> None:
        """See `Method.message`."""
        request = parse(self._request, data)
        response = self._response(valid_host=request.host, original_request=request)
        which = request.WhichOneof("message_request")
        if which == "list_services":
            for name in SERVICES:
                response.list_services_response.service.add(name=name)
        else:
            try:
                self._describe(which, request, response)
            except (KeyError, TypeError):
                response.error_response.error_code = Status.NOT_FOUND
                response.error_response.error_message = "there is no such file, symbol or extension here"
        call.send(response.SerializeToString())

    def _describe(self, which: str | None, request: Any, response: Any) -> None:
        if which == "file_by_filename":
            file = POOL.FindFileByName(request.file_by_filename)
        elif which == "file_containing_symbol":
            file = POOL.FindFileContainingSymbol(request.file_containing_symbol)
        elif which == "all_extension_numbers_of_type":
            response.all_extension_numbers_response.base_type_name = POOL.FindMessageTypeByName(
                request.all_extension_numbers_of_type
            ).full_name
            return
        else:
            raise KeyError(which)
        wanted = [file]
        seen: set[str] = set()
        while wanted:
            file = wanted.pop()
            if file.name not in seen:
                seen.add(file.name)
                response.file_descriptor_response.file_descriptor_proto.append(file.serialized_pb)
                wanted += file.dependencies

    def ended(self, call: GrpcCall) -> None:
        """See `Method.ended`."""
        call.finish()
