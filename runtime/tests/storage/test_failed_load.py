"""Loads that the storage makes fail, with the real process: an exit code and one sentence each."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from haldane_runtime.store.digest import file_digest

# The operator's patience, and some more for a machine that is busy with other tests.
SECONDS = 25.0


@pytest.fixture
def failed(start: Callable[..., Any], tmp_path: Path) -> Callable[..., tuple[int, str, str]]:
    """`failed(uri, environment)` is the exit code, the reason and the message of a server that ended by itself."""

    def run(uri: str, environment: dict[str, str]) -> tuple[int, str, str]:
        log = tmp_path / "termination-log"
        own = {"HALDANE_CACHE_DIR": str(tmp_path / "cache"), "HALDANE_TERMINATION_LOG": str(log)}
        server = start(uri, **own | {"AWS_EC2_METADATA_DISABLED": "true"} | environment)
        code = server.ended(SECONDS)
        told = json.loads(log.read_text())
        assert server.log[-1] == log.read_text()
        assert told["message"].endswith(".")
        assert "Traceback" not in "".join(server.log)
        return code, told["reason"], told["message"]

    return run


TABLE: dict[str, tuple[str, dict[str, str], int, str, str]] = {
    "missing object": (
        "s3://models/absent/model.onnx", {}, 11, "ModelNotFound",
        "s3://models/absent/model.onnx does not exist: the key does not exist.",
    ),
    "missing folder": (
        "s3://models/absent/", {}, 11, "ModelNotFound",
        "s3://models/absent/ does not exist: no object has that prefix.",
    ),
    "missing bucket": (
        "s3://absent/model.onnx", {}, 11, "ModelNotFound",
        "s3://absent/model.onnx does not exist: the bucket does not exist.",
    ),
    "folder without a model": (
        "s3://models/headless/", {}, 11, "ModelNotFound",
        "s3://models/headless/ has no model.onnx; it holds net.onnx.",
    ),
    "missing file": (
        "file:///absent/model.onnx", {}, 11, "ModelNotFound",
        "file:///absent/model.onnx does not exist: No such file or directory.",
    ),
    "denied": (
        "s3://models/good/model.onnx",
        {"AWS_ACCESS_KEY_ID": "other-access", "AWS_SECRET_ACCESS_KEY": "other-secret"}, 12, "AccessDenied",
        "{endpoint} refused s3://models/good/model.onnx with AccessDenied: the credentials lack the permission, "
        "or the key does not exist and listing is not allowed.",
    ),
    "wrong secret": (
        "s3://models/good/model.onnx", {"AWS_SECRET_ACCESS_KEY": "wrong"}, 12, "AccessDenied",
        "{endpoint} refused s3://models/good/model.onnx with SignatureDoesNotMatch: the secret key is wrong "
        "(AWS_SECRET_ACCESS_KEY).",
    ),
    "no credentials": (
        "s3://models/good/model.onnx", {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}, 12, "AccessDenied",
        "{endpoint} refused s3://models/good/model.onnx with AccessDenied: the credentials lack the permission, "
        "or the key does not exist and listing is not allowed "
        "(no credentials were given: set AWS_ACCESS_KEY_ID).",
    ),
    "endpoint down": (
        "s3://models/good/model.onnx", {"HALDANE_S3_ENDPOINT": "http://127.0.0.1:1"}, 13, "StorageUnreachable",
        "http://127.0.0.1:1 cannot be reached for s3://models/good/model.onnx: connection refused.",
    ),
    "web server down": (
        "https://127.0.0.1:1/model.onnx", {}, 13, "StorageUnreachable",
        "127.0.0.1:1 cannot be reached: connection refused (for https://127.0.0.1:1/model.onnx).",
    ),
    "checksum": (
        "s3://models/good/model.onnx", {"HALDANE_MODEL_SHA256": "0" * 64}, 14, "ChecksumMismatch",
        "s3://models/good/model.onnx has the sha256 {digest}, but " + "0" * 64
        + " was expected; correct the checksum or the file.",
    ),
    "scheme": (
        "gs://models/model.onnx", {}, 10, "InvalidConfiguration",
        "HALDANE_MODEL_URI 'gs://models/model.onnx' cannot be used: "
        "a model URI starts with s3://, https:// or file://.",
    ),
    "cache that is no folder": (
        "s3://models/good/model.onnx", {"HALDANE_CACHE_DIR": "/etc/hostname/cache"}, 10, "InvalidConfiguration",
        "HALDANE_CACHE_DIR /etc/hostname/cache cannot be written to: Not a directory; "
        "name a folder on a writable volume.",
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def digest(storage: Any, models: Any) -> str:
    """What the table needs in the storage; the sha256 of the good model."""
    model = models.double()
    storage.put("good/model.onnx", model.read_bytes())
    storage.put("headless/net.onnx", b"n")
    storage.put("cut/model.onnx", model.read_bytes()[:-20])
    return file_digest(model)


@pytest.mark.parametrize("case", TABLE)
def test_every_failure_has_its_exit_code_and_its_sentence(
    storage: Any, digest: str, failed: Callable[..., tuple[int, str, str]], case: str
) -> None:
    uri, environment, code, reason, message = TABLE[case]
    told = failed(uri, storage.environment() | environment)
    endpoint = environment.get("HALDANE_S3_ENDPOINT", storage.url)
    assert told == (code, reason, message.replace("{endpoint}", endpoint).replace("{digest}", digest))


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("cut", "the answer ended early."),
        ("silent", "{endpoint} cannot be reached for s3://models/good/model.onnx: no answer in time."),
    ],
)
def test_a_download_that_never_ends_well(
    storage: Any,
    digest: str,
    failed: Callable[..., tuple[int, str, str]],
    faulty: Any,
    fault: Any,
    kind: str,
    message: str,
) -> None:
    faults = {"cut": fault(cut_after=0), "silent": fault(delay=60)}
    proxy = faulty(storage.port, lambda number, head: faults[kind] if head.startswith("GET") else None)
    environment = storage.environment() | {"HALDANE_S3_ENDPOINT": proxy.url}
    code, reason, told = failed("s3://models/good/model.onnx", environment)
    assert (code, reason) == (13, "StorageUnreachable")
    assert told.endswith(message.replace("{endpoint}", proxy.url))


def test_an_object_that_was_uploaded_by_halves(
    storage: Any, digest: str, failed: Callable[..., tuple[int, str, str]]
) -> None:
    code, reason, _ = failed("s3://models/cut/model.onnx", storage.environment())
    assert (code, reason) == (15, "InvalidModel")


FULL = """
import os, shutil, sys
if sys.argv[1] == "unforeseen":
    # Somebody else takes the room after it has been looked at.
    shutil.disk_usage = lambda _: shutil._ntuple_diskusage(1 << 60, 0, 1 << 60)
from haldane_runtime.server import main
main(["serve", "--port", "0"])
"""


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("foreseen", "The cache has no room for the model: it needs 3.1 MB more and 1.0 MB are free in {cache}"),
        (
            "unforeseen",
            "The cache {cache} cannot hold the model: No space left on device; give that volume more space.",
        ),
    ],
)
def test_a_full_disk(storage: Any, tmp_path: Path, kind: str, message: str) -> None:
    inside = ["unshare", "--map-root-user", "--mount", "sh", "-ec"]
    if not shutil.which("unshare") or subprocess.run([*inside, "mount -t tmpfs none /mnt"], check=False).returncode:
        pytest.skip(
            "a small disk needs a mount of its own: install the package util-linux, which has unshare, and allow user "
            "namespaces (sysctl kernel.unprivileged_userns_clone=1) to run this test"
        )
    uri = storage.put("wide/model.onnx", os.urandom(3 << 20))
    cache, log = tmp_path / "cache", tmp_path / "log"
    cache.mkdir()
    environment = {
        "HALDANE_MODEL_URI": uri,
        "HALDANE_CACHE_DIR": str(cache),
        "HALDANE_TERMINATION_LOG": str(log),
        "PATH": os.environ["PATH"],
        **storage.environment(),
    }
    script = 'mount -t tmpfs -o size=1m none "$HALDANE_CACHE_DIR"; exec "$@"'
    command = [*inside, script, "sh", sys.executable, "-c", FULL, kind]
    ended = subprocess.run(command, env=environment, check=False, timeout=SECONDS, capture_output=True, text=True)
    assert ended.returncode == 17, ended.stderr
    told = json.loads(log.read_text())
    assert told["reason"] == "LoadFailed"
    assert told["message"].startswith(message.replace("{cache}", str(cache)))
