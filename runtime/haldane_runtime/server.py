"""The command `haldane-runtime`."""

import argparse
import logging
import os
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from haldane_runtime.core.errors import LoadError
from haldane_runtime.observe.termination import DEFAULT_TERMINATION_LOG, report_failure
from haldane_runtime.settings import from_environment

_EPILOG = """\
environment:
  HALDANE_MODEL_URI          s3://bucket/path/, https://host/model.onnx or file:///path; a .onnx file
                             or a folder that holds model.onnx
  HALDANE_MODEL_SHA256       refuse the model unless its sha256 is this
  HALDANE_MODEL_NAME         the name in the routes (default: model)
  HALDANE_MODEL_VERSION      the version in the answers (default: from the sha256)
  HALDANE_MODEL_NAMESPACE, HALDANE_REVISION
                             labels of the metrics
  HALDANE_S3_ENDPOINT, HALDANE_S3_REGION, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, ...
                             where and how S3 is reached
  HALDANE_CACHE_DIR          downloaded models (default: /var/cache/haldane)
  HALDANE_DEVICE             cpu or gpu (default: cpu)
  HALDANE_INTRA_OP_THREADS   threads for one request (default: the container's CPU quota)
  HALDANE_QUEUE              requests that may wait (default: 1024)
  HALDANE_REQUEST_TIMEOUT    seconds from arrival to answer (default: 10)
  HALDANE_REQUEST_BYTES      largest request body (default: 67108864)
  HALDANE_DRAIN_SECONDS      seconds to go on serving after SIGTERM (default: 0)
  HALDANE_HOST, HALDANE_PORT where to listen (default: every address, 8080)
  HALDANE_TERMINATION_LOG    where a failed load says why (default: /dev/termination-log)

A failed load ends the process: 10 InvalidConfiguration, 11 ModelNotFound, 12 AccessDenied,
13 StorageUnreachable, 14 ChecksumMismatch, 15 InvalidModel, 16 DeviceUnavailable, 17 LoadFailed.
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line, run, and end the process with the right exit code."""
    started = time.monotonic()
    # The first process of a container ignores SIGTERM unless it says otherwise; the drain takes over later.
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(message)s")
    # Its start and stop lines repeat ours.
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
    code = serve(_overridden(os.environ, options), started)
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    # Threads that are still inside native code (a download, a session being built) must not delay the end.
    os._exit(code)


def serve(environ: Mapping[str, str], started: float) -> int:
    """Run the server to its end; the exit code: 0, or that of the reason (see `core.errors`)."""
    try:
        settings = from_environment(environ)
        # The web framework takes most of the start; a wrong setting is told without it.
        from haldane_runtime.lifecycle import run

        run(settings, started)
    except LoadError as error:
        report_failure(error, Path(environ.get("HALDANE_TERMINATION_LOG") or DEFAULT_TERMINATION_LOG))
        return error.exit_code
    return 0


def _overridden(environ: Mapping[str, str], options: argparse.Namespace) -> dict[str, str]:
    given = {
        "HALDANE_MODEL_URI": options.model_uri,
        "HALDANE_MODEL_NAME": options.model_name,
        "HALDANE_HOST": options.host,
        "HALDANE_PORT": options.port,
    }
    return {**environ, **{name: value for name, value in given.items() if value is not None}}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="haldane-runtime",
        description="Serves an ONNX model over HTTP: Open Inference Protocol v2 and /v1/predict.",
    )
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    command = commands.add_parser(
        "serve",
        help="serve one model",
        description="Serve one model. Everything is configured by the environment; the options are for the shell.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_argument("--model-uri", metavar="URI", help="HALDANE_MODEL_URI")
    command.add_argument("--model-name", metavar="NAME", help="HALDANE_MODEL_NAME")
    command.add_argument("--host", metavar="ADDRESS", help="HALDANE_HOST")
    command.add_argument("--port", metavar="PORT", help="HALDANE_PORT")
    return parser


if __name__ == "__main__":
    main()
