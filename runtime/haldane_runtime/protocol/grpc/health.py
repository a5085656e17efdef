"""grpc.health.v1: Check, List and Watch, of the server as a whole and of the inference service."""

from haldane_runtime.core.dataplane import DataPlane
from haldane_runtime.protocol.grpc.call import GrpcCall, Method
from haldane_runtime.protocol.grpc.schema import HEALTH, INFERENCE, message_class, method_path, parse
from haldane_runtime.protocol.grpc.status import Status, Unserved
from haldane_runtime.protocol.grpc.unary import Unary

SERVING, NOT_SERVING, SERVICE_UNKNOWN = 1, 2, 3
_NAMES = ("", INFERENCE)

_Request = message_class("grpc.health.v1.HealthCheckRequest")
_Response = message_class("grpc.health.v1.HealthCheckResponse")
_ListRequest = message_class("grpc.health.v1.HealthListRequest")
_ListResponse = message_class("grpc.health.v1.HealthListResponse")


def health_methods(plane: DataPlane) -> dict[bytes, Method]:
    """SERVING as long as `/ready` says 200."""

    def state() -> int:
        return SERVING if plane.ready else NOT_SERVING

    def check(request: object) -> object:
        name: str = request.service  # type: ignore[attr-defined]
        if name not in _NAMES:
            raise Unserved(Status.NOT_FOUND, f"there is no service '{name}' here; ask for '' or '{INFERENCE}'")
        return _Response(status=state())

    def listed(_: object) -> object:
        return _ListResponse(statuses={name: _Response(status=state()) for name in _NAMES})

    return {
        method_path(HEALTH, "Check"): Unary(_Request, check),
        method_path(HEALTH, "List"): Unary(_ListRequest, listed),
        method_path(HEALTH, "Watch"): _Watch(plane),
    }


class _Watch(Method):
    """Tells the state at once and then every change, until the client leaves."""

    def __init__(self, plane: DataPlane) -> None:
        self._plane = plane

    def message(self, call: GrpcCall, data: bytes | memoryview) -> None:
        """See `Method.message`."""
        known = parse(_Request, data).service in _NAMES
        told: int | None = None

        def tell(_: float) -> None:
            nonlocal told
            state = SERVICE_UNKNOWN if not known else SERVING if self._plane.ready else NOT_SERVING
            if state != told:
                told = state
                call.send(_Response(status=state).SerializeToString())

        call.on_tick = tell
        tell(0.0)
