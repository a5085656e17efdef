"""How large the images are without the base that they stand on.

make images && .venv/bin/python -m bench.image_size
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

from e2e.cluster import debian
from e2e.cluster.commands import PYTHON_IMAGE

IMAGES = ("haldane/runtime:dev", "haldane/operator:dev")
TARGET_MB = {"haldane/runtime:dev": 250.0}


def inspect(tag: str) -> dict[str, Any] | None:
    """What Docker knows of an image; None when it has none of that name."""
    asked = subprocess.run(["docker", "image", "inspect", tag], capture_output=True, text=True, timeout=30, check=False)
    return json.loads(asked.stdout)[0] if asked.returncode == 0 else None


def own_megabytes(image: dict[str, Any], base: dict[str, Any]) -> float | None:
    """Size in 10**6 bytes without the base's; None when the image does not stand on it."""
    layers, below = image["RootFS"]["Layers"], base["RootFS"]["Layers"]
    return float(image["Size"] - base["Size"]) / 1e6 if layers[: len(below)] == below else None


def main() -> int:
    """Print one line an image; 1 when one is over its target or missing."""
    bases = [found for tag in (debian.python().tag, PYTHON_IMAGE) if (found := inspect(tag))]
    missed = False
    for tag in IMAGES:
        image = inspect(tag)
        sizes = [size for base in bases if image and (size := own_megabytes(image, base)) is not None]
        if not sizes:
            print(f"{tag}: not built on a known base: run `make images` first")
            missed = True
            continue
        target = TARGET_MB.get(tag)
        told = f" (target: under {target:.0f} MB)" if target else ""
        print(f"{tag}: {sizes[0]:.0f} MB without its base{told}")
        missed |= target is not None and sizes[0] >= target
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
