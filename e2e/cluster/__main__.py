"""`python -m e2e.cluster`: a kind cluster with its add-ons on any machine."""

import argparse
import re
import sys

from e2e.cluster import commands
from e2e.cluster.errors import ClusterError


def _name(text: str) -> str:
    if not re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?", text):
        raise argparse.ArgumentTypeError("a cluster's name has lower-case letters, digits and dashes, at most 40")
    return text


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m e2e.cluster", description=__doc__)
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--name", type=_name, default="haldane", help="the cluster's name (default: %(default)s)")
    of = parser.add_subparsers(dest="command", required=True)
    of.add_parser("up", parents=[common], help="start the cluster and its add-ons; does nothing when they run")
    down = of.add_parser("down", parents=[common], help="remove the cluster and all that is in it")
    down.add_argument("--all", action="store_true", help="remove the images that were built for clusters, too")
    of.add_parser("status", parents=[common], help="tell how the cluster is; status 1 when it is not ready")
    of.add_parser("addresses", parents=[common], help="print how to reach the cluster, as JSON")
    load = of.add_parser("load", parents=[common], help="bring local Docker images into the cluster")
    load.add_argument("image", nargs="+")
    of.add_parser("images", parents=[common], help="build the project's images and bring them into the cluster")
    binaries = of.add_parser("binaries", help="compile or fetch programs alone, for tests that need no cluster")
    binaries.add_argument("program", nargs="*", help="their names (default: kube-apiserver, etcd and kubectl)")
    return parser


def main() -> int:
    arguments = _parser().parse_args()
    try:
        match arguments.command:
            case "up":
                commands.up(arguments.name)
            case "down":
                commands.down(arguments.name, everything=arguments.all)
            case "status":
                return 0 if commands.status(arguments.name) else 1
            case "addresses":
                commands.show_addresses(arguments.name)
            case "load":
                commands.load_images(arguments.name, arguments.image)
            case "images":
                commands.images(arguments.name)
            case "binaries":
                commands.get_programs(arguments.program)
    except ClusterError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Interrupted; the same command continues where it stopped.", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
