"""Our messages on the wire are those of the clients that exist."""

from pathlib import Path
from typing import Any

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from grpc_tools import protoc
from tritonclient.grpc import model_config_pb2, service_pb2

from haldane_runtime.protocol.grpc.schema import POOL, PROTO


def test_the_descriptors_are_those_of_the_proto_files(tmp_path: Path) -> None:
    """`python -m grpc_tools.protoc -I PROTO --descriptor_set_out=PROTO/descriptors.binpb PROTO/*.proto` makes them."""
    sources = sorted(path.name for path in PROTO.glob("*.proto"))
    made = tmp_path / "descriptors.binpb"
    assert protoc.main(["protoc", f"-I{PROTO}", f"--descriptor_set_out={made}", *sources]) == 0
    fresh, kept = (FileDescriptorSet.FromString(path.read_bytes()) for path in (made, PROTO / "descriptors.binpb"))
    assert {file.name: file for file in fresh.file} == {file.name: file for file in kept.file}


def fields(message: Any) -> dict[int, tuple[str, int, bool]]:
    return {number: (field.name, field.type, field.is_repeated) for number, field in message.fields_by_number.items()}


OURS = [
    name
    for file in ("inference.proto", "model_config.proto")
    for name in POOL.FindFileByName(file).message_types_by_name
    # Answers to load and unload are KServe's; Triton's are empty.
    if name not in ("RepositoryModelLoadResponse", "RepositoryModelUnloadResponse")
]


@pytest.mark.parametrize("name", OURS)
def test_fields_are_those_of_tritons_clients(name: str) -> None:
    theirs = service_pb2.DESCRIPTOR.message_types_by_name.get(name)
    theirs = theirs or model_config_pb2.DESCRIPTOR.message_types_by_name[name]
    pairs = [(POOL.FindMessageTypeByName(f"inference.{name}"), theirs)]
    while pairs:
        our, their = pairs.pop()
        known = fields(their)
        for number, field in fields(our).items():
            assert field == known[number], f"{our.full_name}, field {number}"
        pairs += [(nested, their.nested_types_by_name[nested.name]) for nested in our.nested_types]


def test_the_datatypes_of_a_configuration() -> None:
    ours = POOL.FindEnumTypeByName("inference.DataType").values_by_name
    theirs = model_config_pb2.DESCRIPTOR.enum_types_by_name["DataType"].values_by_name
    assert {name: value.number for name, value in ours.items()} == {
        name: value.number for name, value in theirs.items()
    }
