"""Images as tar streams: what is written is a valid layout, and nothing is sent twice."""

import gzip
import hashlib
import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from e2e.cluster import oci


def members(stream: io.BytesIO) -> dict[str, bytes]:
    stream.seek(0)
    found = {}
    with tarfile.open(fileobj=stream) as archive:
        for member in archive:
            file = archive.extractfile(member)
            found[member.name] = file.read() if file else b""
    return found


def images(files: dict[str, bytes]) -> dict[str, dict[str, Any]]:
    """Manifest and configuration by the image's name; checks digests and sizes on the way."""
    for name, content in files.items():
        if name.startswith("blobs/"):
            assert hashlib.sha256(content).hexdigest() == name.rpartition("/")[2]
    assert json.loads(files["oci-layout"]) == {"imageLayoutVersion": "1.0.0"}
    found = {}
    for described in json.loads(files["index.json"])["manifests"]:
        raw = files[f"blobs/sha256/{described['digest'].removeprefix('sha256:')}"]
        assert len(raw) == described["size"]
        manifest = json.loads(raw)
        config = files[f"blobs/sha256/{manifest['config']['digest'].removeprefix('sha256:')}"]
        found[described["annotations"]["io.containerd.image.name"]] = {**manifest, "config": json.loads(config)}
    return found


def layer(text: str) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        member = tarfile.TarInfo("file")
        member.size = len(text)
        archive.addfile(member, io.BytesIO(text.encode()))
    return stream.getvalue()


def digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def saved(layers: dict[str, bytes | str], config_name: str) -> io.BytesIO:
    """What `docker save` prints; a text in place of a layer is a link."""
    stream = io.BytesIO()
    config = json.dumps({"rootfs": {"type": "layers"}}).encode()
    manifest = [{"Config": config_name, "RepoTags": ["haldane/a:dev"], "Layers": list(layers)}]
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name, content in {**layers, config_name: config, "manifest.json": json.dumps(manifest).encode()}.items():
            member = tarfile.TarInfo(name)
            if isinstance(content, str):
                member.type, member.linkname = tarfile.SYMTYPE, content
                archive.addfile(member)
            else:
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    stream.seek(0)
    return stream


def test_an_image_of_one_program(tmp_path: Path) -> None:
    program = tmp_path / "weed"
    program.write_bytes(b"\x7fELF")
    stream = io.BytesIO()
    with oci.Layout(stream) as layout:
        layout.program(oci.ProgramImage("haldane.local/weed:1", program, "/usr/local/bin/weed"))
    files = members(stream)
    image = images(files)["haldane.local/weed:1"]
    assert image["config"]["config"]["Entrypoint"] == ["/usr/local/bin/weed"]
    assert image["config"]["rootfs"]["diff_ids"] == [image["layers"][0]["digest"]]
    raw = files[f"blobs/sha256/{image['layers'][0]['digest'].removeprefix('sha256:')}"]
    with tarfile.open(fileobj=io.BytesIO(raw)) as archive:
        member = archive.getmember("usr/local/bin/weed")
        assert (member.mode, member.uid) == (0o755, 0)


@pytest.mark.parametrize(
    ("names", "config"),
    [
        (("1/layer.tar", "2/layer.tar"), "abc.json"),
        (("blobs/sha256/1", "blobs/sha256/2"), "blobs/sha256/3"),
    ],
    ids=["older docker", "newer docker"],
)
def test_layers_that_are_held_are_named_but_not_sent(names: tuple[str, str], config: str) -> None:
    base, code = layer("base"), layer("code")
    stream = io.BytesIO()
    source = saved(dict(zip(names, (base, code), strict=True)), config)
    oci.thinned(source, stream, {digest(base)}, {"haldane/a:dev": "docker.io/haldane/a:dev"})
    files = members(stream)
    image = images(files)["docker.io/haldane/a:dev"]
    assert [part["digest"] for part in image["layers"]] == [digest(base), digest(code)]
    assert [part["size"] for part in image["layers"]] == [len(base), len(code)]
    assert f"blobs/sha256/{hashlib.sha256(base).hexdigest()}" not in files
    assert f"blobs/sha256/{hashlib.sha256(code).hexdigest()}" in files


def test_a_linked_layer_is_the_layer_it_links_to() -> None:
    base = layer("base")
    stream = io.BytesIO()
    source = saved({"1/layer.tar": base, "2/layer.tar": "../1/layer.tar"}, "abc.json")
    oci.thinned(source, stream, (), {"haldane/a:dev": "docker.io/haldane/a:dev"})
    image = images(members(stream))["docker.io/haldane/a:dev"]
    assert [part["digest"] for part in image["layers"]] == [digest(base)] * 2


def test_a_compressed_layer_says_so() -> None:
    stream = io.BytesIO()
    with oci.Layout(stream) as layout:
        assert layout.layer(io.BytesIO(gzip.compress(layer("x")))).kind.endswith("tar+gzip")
        assert layout.layer(io.BytesIO(layer("x"))).kind.endswith("tar")
