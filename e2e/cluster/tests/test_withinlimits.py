"""Runs the tests of the OCI wrapper, which is written in Go."""

import os
import shutil
import subprocess

import pytest

from e2e.cluster import paths


@pytest.mark.skipif(shutil.which("go") is None, reason="there is no Go on this machine")
def test_the_wrapper() -> None:
    # The user's build cache, not this test's empty one: compiling the standard library takes a while.
    environment = {name: value for name, value in os.environ.items() if name != "XDG_CACHE_HOME"}
    command = ["go", "test", "./..."]
    done = subprocess.run(
        command, cwd=paths.HERE / "go" / "withinlimits", env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
