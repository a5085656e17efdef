"""Haldane's own command line, run as a person runs it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from e2e.harness.command import output
from e2e.scenarios.manifest import NAME
from e2e.scenarios.place import Place

USER = "alice"
_SECONDS = 40.0


async def haldane(place: Place, verb: str, *words: str, plugin: bool = False) -> str:
    """What `haldane VERB digits` prints for USER, or `kubectl haldane VERB digits`. Raises HarnessError when it fails."""
    programs, kubectl = Path(sys.executable).parent, Path(place.addresses.kubectl)
    command = [kubectl, "haldane"] if plugin else [programs / "haldane"]
    where = ["--kubeconfig", place.addresses.kubeconfig, "--context", place.addresses.context, "-n", place.namespace]
    place.say(f"{'kubectl ' if plugin else ''}haldane {' '.join([verb, *words])}")
    return await output(
        [*command, verb, NAME, *words, *where],
        seconds=_SECONDS,
        environment={"PATH": f"{programs}:{kubectl.parent}:{os.environ['PATH']}", "LOGNAME": USER},
    )
