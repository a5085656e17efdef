"""h2spec, the conformance tests of HTTP/2 that others wrote, against the real server."""

import re
import subprocess
from pathlib import Path

import pytest

from e2e.cluster.programs import GoProgram
from e2e.cluster.shell import Shell

H2SPEC = GoProgram(
    "h2spec",
    "h2spec-v2.2.1",
    "github.com/summerwind/h2spec/cmd/h2spec",
    # An absolute path: the module lies beside this file, not with the cluster's.
    module=str(Path(__file__).parent / "h2spec"),
)
SECONDS = 120

# RFC 9113 took the priorities of RFC 7540 away, and with them the rule that no stream depends on itself.
OBSOLETE = {"Sends HEADERS frame that depend on itself", "Sends PRIORITY frame that depend on itself"}


@pytest.fixture(scope="session")
def h2spec() -> Path:
    if not H2SPEC.ready():
        H2SPEC.get(Shell("h2spec"))
    return H2SPEC.path


def test_http2_conformance(h2spec: Path, address: str) -> None:
    host, port = address.split(":")
    ended = subprocess.run(
        [h2spec, "-h", host, "-p", port, "-o", "5"], capture_output=True, text=True, timeout=SECONDS, check=False
    )
    failed = set(re.findall(r"\u00d7 \d+: (.*)", ended.stdout))
    assert failed == OBSOLETE, ended.stdout
    total, passed = map(int, re.findall(r"(\d+) tests, (\d+) passed, 0 skipped", ended.stdout)[0])
    assert (total, passed) == (145, 143)
