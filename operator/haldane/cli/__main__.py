"""`haldane`: what a person runs beside the operator."""

from __future__ import annotations

import argparse
import sys

from haldane.cli import verbs

NEEDS = "haldane: {} is missing: install the command line with pip install 'haldane-operator[cli]'"


def main() -> None:
    """Exit status 0 when all went well, 1 when the command has something to object to, 2 when it could not be run."""
    parser = argparse.ArgumentParser(prog="haldane", description="Tools for people who ship models with Haldane.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    verbs.register(commands)
    if not {*sys.argv[1:2]} & {*commands.choices}:
        # It needs more packages and takes a second to load: who aborts a rollout waits for neither.
        try:
            from haldane.cli import simulate
        except ModuleNotFoundError as missing:
            print(NEEDS.format(missing.name), file=sys.stderr)
            raise SystemExit(2) from None
        simulate.register(commands)
    options = parser.parse_args()
    raise SystemExit(options.run(options))


if __name__ == "__main__":
    main()
