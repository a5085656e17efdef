"""What the demo stands on: a running cluster with the images of this working tree."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Final

from e2e.harness.errors import HarnessError

# From nothing, without a container registry, Kubernetes itself is compiled.
_COMMANDS: Final = {"up": 3600, "images": 1800}


def lay(cluster: str, repository: Path) -> None:
    """Start the cluster, build the images and load them: seconds when all of it is there.

    The commands show their own progress. Raises HarnessError when one fails or takes too long.
    """
    for command, seconds in _COMMANDS.items():
        words = ["-m", "e2e.cluster", command, "--name", cluster]
        shown = f"python {' '.join(words)}"
        try:
            # Its answer is for programs; what people read goes to stderr.
            done = subprocess.run(
                [sys.executable, *words], cwd=repository, stdout=subprocess.DEVNULL, timeout=seconds, check=False
            )
        except subprocess.TimeoutExpired:
            raise HarnessError(f"`{shown}` took more than {seconds} s.") from None
        if done.returncode:
            raise HarnessError(f"`{shown}` ended with status {done.returncode}; what it says is above.")
