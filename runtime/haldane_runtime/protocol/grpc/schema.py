"""Message classes from `proto/descriptors.binpb`, which protoc writes from the .proto files beside it.

They live in a pool of their own: a process may also import a client of the same protocol, whose generated classes claim the
same names in the default pool.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError
from google.protobuf.message_factory import GetMessageClass

from haldane_runtime.core.errors import invalid

PROTO = Path(__file__).parent / "proto"
INFERENCE = "inference.GRPCInferenceService"
HEALTH = "grpc.health.v1.Health"
REFLECTION = ("grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection")
SERVICES = (INFERENCE, HEALTH, *REFLECTION)

POOL = DescriptorPool()
for _file in FileDescriptorSet.FromString((PROTO / "descriptors.binpb").read_bytes()).file:
    POOL.AddSerializedFile(_file.SerializeToString())


def message_class(name: str) -> Any:
    """The class of the message of that full name."""
    return GetMessageClass(POOL.FindMessageTypeByName(name))


def method_path(service: str, method: str) -> bytes:
    return f"/{service}/{method}".encode()


def methods(service: str) -> Sequence[Any]:
    """The methods of that service, as descriptors."""
    found: Sequence[Any] = POOL.FindServiceByName(service).methods
    return found


def parse(kind: Any, data: bytes | memoryview) -> Any:
    """Raises: RequestError: INVALID, when the bytes are no such message."""
    try:
        return kind.FromString(bytes(data))
    except DecodeError:
        raise invalid(f"the message is not a valid {kind.DESCRIPTOR.full_name}") from None


ModelInferRequest = message_class("inference.ModelInferRequest")
