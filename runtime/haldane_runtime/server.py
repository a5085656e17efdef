"""The command `haldane-runtime`."""

import argparse
import gc
import logging
import os
import re
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from haldane_runtime.core.errors import LoadError
from haldane_runtime.observe.termination import DEFAULT_TERMINATION_LOG, report_failure
from haldane_runtime.repository.target import with_target
from haldane_runtime.settings import from_environment, unknown_names

log = logging.getLogger(__name__)

_ENVIRONMENT = """\
environment, what to serve:
  HALDANE_MODEL_URI            s3://bucket/path/, https://host/model.onnx or file:///path; a .onnx file
                               or a folder that holds model.onnx
  HALDANE_MODEL_REPOSITORY     instead, a folder of <model>/<version>/model.onnx
  HALDANE_MODEL_CONTROL        explicit: models may be loaded and unloaded by request (default: none)
  HALDANE_MODEL_SHA256         refuse the model unless its sha256 is this
  HALDANE_MODEL_NAME           the name in the routes (default: model, or from the path given)
  HALDANE_MODEL_VERSION        the version in the answers (default: from the sha256)
  HALDANE_S3_ENDPOINT, HALDANE_S3_REGION, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, ...
                               where and how S3 is reached
  HALDANE_CACHE_DIR            downloaded models (default: /var/cache/haldane)
environment, the engine:
  HALDANE_DEVICE               cpu or gpu (default: cpu)
  HALDANE_PROVIDERS            TensorRT, CUDA, CPU in the order to try (default: as the device)
  HALDANE_CUDA_GRAPH           on: record a run once and replay it, for fixed shapes on a GPU (default: off)
  HALDANE_INTRA_OP_THREADS     threads for one run (default: measured, within the container's CPU quota)
  HALDANE_PRECISION            fp32, fp16 or int8, converted at load (default: fp32)
  HALDANE_PRECISION_TOLERANCE  largest relative difference to fp32 (default: 0.01)
  HALDANE_GOLDEN               requests with their answers, as JSON or its path (default: golden.json beside the model)
environment, requests:
  HALDANE_MAX_BATCH_SIZE       rows in one run of the engine, 1 for no batching (default: 64)
  HALDANE_MAX_BATCH_DELAY      seconds that an idle engine waits for more rows (default: 0)
  HALDANE_QUEUE                requests that may wait (default: 1024)
  HALDANE_QUEUE_BYTES          bytes of requests that may wait (default: 268435456)
  HALDANE_QUEUE_DELAY          seconds; who would wait longer is refused; auto: as long as eight runs (default: 0, off)
  HALDANE_REQUEST_TIMEOUT      seconds from arrival to answer (default: 10)
  HALDANE_REQUEST_BYTES        largest request body (default: 67108864)
  HALDANE_RESPONSE_CACHE       redis://host:6379/0 keeps answers (default: none)
  HALDANE_RESPONSE_CACHE_TTL   seconds that an answer is kept (default: 300)
environment, the server:
  HALDANE_HOST, HALDANE_PORT   where to listen (default: every address, 8080)
  HALDANE_GRPC_PORT            gRPC; 0 for none (default: 8081)
  HALDANE_FRONTS               processes that read and write HTTP for a saturated server (default: 0)
  HALDANE_DRAIN_SECONDS        seconds to go on serving after SIGTERM (default: 1)
  HALDANE_EXTENSION            module:function that adds routes of your own to the FastAPI application (default: none)
  HALDANE_REQUEST_LOG          share of the predictions with a line of JSON, 0 to 1 (default: 0)
  HALDANE_MODEL_NAMESPACE, HALDANE_REVISION
                               labels of the metrics
  HALDANE_TERMINATION_LOG      where a failed load says why (default: /dev/termination-log)
  OTEL_EXPORTER_OTLP_ENDPOINT, ...
                               where traces go (default: nowhere)
"""

KNOWN = frozenset(re.findall(r"HALDANE_\w+", _ENVIRONMENT))
"""Every variable of ours that is read."""

_EXIT_CODES = """
A failed load ends the process: 10 InvalidConfiguration, 11 ModelNotFound, 12 AccessDenied,
13 StorageUnreachable, 14 ChecksumMismatch, 15 InvalidModel, 16 DeviceUnavailable, 17 LoadFailed,
18 GoldenMismatch, 19 PrecisionLoss.
Of several models, one that fails is left out.
"""

_MODEL = "a .onnx file, a folder with model.onnx, a repository's folder or a URI (default: as HALDANE_MODEL_URI says)"


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line, run, and end the process with the right exit code."""
    started = time.monotonic()
    # The first process of a container ignores SIGTERM unless it says otherwise; the drain takes over later.
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    options = _parser().parse_args(arguments)
    run: Callable[[argparse.Namespace, float], int] = options.run
    try:
        code = run(options, started)
    except KeyboardInterrupt:
        code = 128 + signal.SIGINT
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    # Threads that are still inside native code (a download, a session being built) must not delay the end.
    os._exit(code)


def _serve(options: argparse.Namespace, started: float) -> int:
    """Run the server to its end; the exit code: 0, or that of the reason (see `core.errors`)."""
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(message)s")
    # Its start and stop lines repeat ours.
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
    for warning in unknown_names(os.environ, KNOWN):
        log.warning("%s", warning)
    try:
        settings = from_environment(_environment(options))
        # Next to nothing of what the imports make is garbage, and looking for it takes a sixth of their time; see
        # `lifecycle` for when it is looked for again.
        gc.disable()
        # The web framework takes most of the start; a wrong setting is told without it.
        from haldane_runtime.lifecycle import run

        run(settings, started)
    except LoadError as error:
        report_failure(error, Path(os.environ.get("HALDANE_TERMINATION_LOG") or DEFAULT_TERMINATION_LOG))
        return error.exit_code
    return 0


def _check(options: argparse.Namespace, _: float) -> int:
    from haldane_runtime.commands.check import check

    return _reporting(options, lambda: check(os.environ, options.model, options.json))


def _bench(options: argparse.Namespace, _: float) -> int:
    from haldane_runtime.commands.bench import bench

    return _reporting(options, lambda: bench(os.environ, options.model, options.seconds, options.json))


def _reporting(options: argparse.Namespace, command: Callable[[], int]) -> int:
    level = logging.INFO if options.verbose else logging.ERROR
    logging.basicConfig(level=level, stream=sys.stderr, format="%(levelname)s %(message)s")
    for warning in unknown_names(os.environ, KNOWN):
        print(warning, file=sys.stderr)
    try:
        return command()
    except LoadError as error:
        print(f"{error.reason}: {error.message}", file=sys.stderr)
        return error.exit_code


def _environment(options: argparse.Namespace) -> Mapping[str, str]:
    """The environment under the command line's options; an option stands before what MODEL's path says."""
    given = {
        "HALDANE_MODEL_URI": options.model_uri,
        "HALDANE_MODEL_NAME": options.model_name,
        "HALDANE_MODEL_CONTROL": options.model_control,
        "HALDANE_HOST": options.host,
        "HALDANE_PORT": options.port,
        "HALDANE_GRPC_PORT": options.grpc_port,
    }
    environ = {**os.environ, **{name: value for name, value in given.items() if value is not None}}
    return with_target(environ, options.model)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="haldane-runtime",
        description="Serves ONNX models over HTTP and gRPC: Open Inference Protocol v2 and /v1/predict.",
    )
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    command = commands.add_parser(
        "serve",
        help="serve a model, or all models of a folder",
        description="Serve a model, or all models of a folder. Everything is configured by the environment; the options "
        "are for the shell.",
        epilog=_ENVIRONMENT + _EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.set_defaults(run=_serve)
    command.add_argument("model", metavar="MODEL", nargs="?", help=_MODEL)
    command.add_argument("--model-uri", metavar="URI", help="HALDANE_MODEL_URI")
    command.add_argument("--model-name", metavar="NAME", help="HALDANE_MODEL_NAME")
    command.add_argument("--model-control", metavar="MODE", help="HALDANE_MODEL_CONTROL")
    command.add_argument("--host", metavar="ADDRESS", help="HALDANE_HOST")
    command.add_argument("--port", metavar="PORT", help="HALDANE_PORT")
    command.add_argument("--grpc-port", metavar="PORT", help="HALDANE_GRPC_PORT")
    check = _add_report(commands, "check", _check, "say whether and how a model would be served here")
    check.epilog = _ENVIRONMENT + _EXIT_CODES
    bench = _add_report(commands, "bench", _bench, "measure a model on this machine over threads and batch sizes")
    bench.add_argument(
        "--seconds", metavar="S", type=_seconds, default=20.0, help="about how long to measure (default: 20)"
    )
    return parser


def _add_report(commands: Any, name: str, run: Callable[..., int], what: str) -> argparse.ArgumentParser:
    command: argparse.ArgumentParser = commands.add_parser(
        name,
        help=what,
        description=f"{what[0].upper()}{what[1:]}. The environment is that of `serve`.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.set_defaults(run=run)
    command.add_argument("model", metavar="MODEL", nargs="?", help=_MODEL)
    command.add_argument("--json", action="store_true", help="for programs")
    command.add_argument("--verbose", action="store_true", help="the log of the load, too")
    return command


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0.1 <= seconds <= 3600:
        raise argparse.ArgumentTypeError(f"must be from 0.1 to 3600 seconds, not {text}")
    return seconds


if __name__ == "__main__":
    main()
