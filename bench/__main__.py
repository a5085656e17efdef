"""Every measurement of `make bench`, one after the other, whatever became of the one before.

    .venv/bin/python -m bench

Each ends with 1 when it missed a goal and with more when it could not be made; so does this, with the worst of them.
"""

import argparse
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence

STEPS = (
    "operator_latency",
    "operator_scale",
    "runtime_start",
    "runtime_overload",
    "runtime_memory --requests 1000000",
    "image_size",
    "runtime",
)

Run = Callable[[Sequence[str]], int]


def run_all(steps: Sequence[str], run: Run) -> Mapping[str, int]:
    """The exit status of every step, in order."""
    statuses: dict[str, int] = {}
    for step in steps:
        print(f"\n==> python -m bench.{step}", flush=True)
        statuses[step] = run([sys.executable, "-m", *f"bench.{step}".split()])
    return statuses


def summary(statuses: Mapping[str, int]) -> str:
    """What became of each, a line each."""
    width = max(map(len, statuses))
    told = {0: "every goal is met", 1: "a goal is missed, or it broke off: see above"}
    return "\n".join(
        f"{step:{width}}  {told.get(status, f'could not be measured (exit status {status})')}"
        for step, status in statuses.items()
    )


def worst(statuses: Mapping[str, int]) -> int:
    """0, 1 when only goals were missed, 2 when something could not be measured."""
    return max(0 if not status else 1 if status == 1 else 2 for status in statuses.values())


def main() -> int:
    """Run the steps and say at the end what became of each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.parse_args()
    started = time.monotonic()
    statuses = run_all(STEPS, subprocess.call)
    print(f"\n==> {(time.monotonic() - started) / 60:.0f} minutes\n{summary(statuses)}")
    return worst(statuses)


if __name__ == "__main__":
    sys.exit(main())
