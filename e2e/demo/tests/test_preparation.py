import asyncio
import json
import sys
from pathlib import Path

import pytest

from e2e.demo import ground
from e2e.harness import addresses
from e2e.harness.command import output
from e2e.harness.errors import HarnessError
from e2e.harness.install import helm_command
from e2e.harness.models import trained_already, upload

WRITTEN = {
    "name": "haldane",
    "kubeconfig": "/k/config",
    "context": "kind-haldane",
    "ingress_url": "http://127.0.0.1:1",
    "prometheus_url": "http://127.0.0.1:2",
    "s3_url": "http://127.0.0.1:3",
    "kubectl": "/bin/kubectl",
    "helm": "/bin/helm",
}


def test_addresses_are_read(tmp_path: Path) -> None:
    file = tmp_path / "cluster.json"
    file.write_text(json.dumps(WRITTEN | {"more": "is fine"}))
    assert addresses.read(file) == addresses.Addresses(**WRITTEN)


@pytest.mark.parametrize("text", [None, "", "[]", '{"name": "haldane"}'])
def test_missing_or_odd_addresses_say_what_to_run(tmp_path: Path, text: str | None) -> None:
    file = tmp_path / "cluster.json"
    if text is not None:
        file.write_text(text)
    with pytest.raises(HarnessError, match="run `make cluster"):
        addresses.read(file)


def test_the_chart_gets_the_images_that_were_built() -> None:
    command = helm_command(addresses.Addresses(**WRITTEN), Path("charts/haldane"), "sha256:1234")
    assert command[:4] == ["/bin/helm", "upgrade", "--install", "haldane"]
    assert "image.repository=haldane/operator" in command
    assert "image.tag=dev" in command
    assert "runtime.image=haldane/runtime:dev" in command
    assert r"podAnnotations.haldane\.dev/image-id=sha256:1234" in command
    assert "--wait" in command


def test_models_are_trained_again_when_a_program_or_a_file_changed(tmp_path: Path) -> None:
    sources, folder = tmp_path / "sources", tmp_path / "models"
    sources.mkdir()
    folder.mkdir()
    (sources / "train.py").touch()
    assert not trained_already(folder, sources)
    (folder / "m.onnx").write_bytes(b"")
    empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    (folder / "models.json").write_text(json.dumps([{"path": "m.onnx", "sha256": empty}]))
    assert trained_already(folder, sources)
    (folder / "m.onnx").write_bytes(b"changed")
    assert not trained_already(folder, sources)


def test_a_store_that_is_not_there_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("e2e.harness.models.ATTEMPTS", 1)
    with pytest.raises(HarnessError, match="did not take the models"):
        upload(tmp_path, "http://127.0.0.1:9")


async def test_a_command_gives_its_output() -> None:
    assert await output(["sh", "-c", "echo hello"], seconds=10) == "hello\n"


@pytest.mark.parametrize(
    ("command", "seconds", "message"),
    [
        (["sh", "-c", "echo why >&2; exit 3"], 10, "status 3:\n    why"),
        (["sleep", "30"], 0.1, "took more than"),
        (["/no/such/program"], 10, "is not there"),
    ],
)
async def test_a_command_that_fails_is_a_sentence(command: list[str], seconds: float, message: str) -> None:
    async with asyncio.timeout(5):
        with pytest.raises(HarnessError, match=message):
            await output(command, seconds=seconds)


def test_a_cluster_that_cannot_be_made_ends_the_demo(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "false")
    with pytest.raises(HarnessError, match=r"e2e.cluster up --name demo` ended with status 1"):
        ground.lay("demo", Path())
