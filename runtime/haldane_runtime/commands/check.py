"""`haldane-runtime check`: would this model be served here, and how?

It loads the model as the server would, so that what it says is what the server would do.
"""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from haldane_runtime.commands.modelfile import ModelFile, read_model_file
from haldane_runtime.commands.subject import Loaded, offered, timed_load
from haldane_runtime.commands.text import counted, facts, milliseconds, shape, size
from haldane_runtime.core.errors import LoadError
from haldane_runtime.core.types import TensorSpec
from haldane_runtime.engine.threads import usable_threads
from haldane_runtime.repository.offers import Offer

OPERATORS_SHOWN = 6


def check(environ: Mapping[str, str], target: str | None, as_json: bool) -> int:
    """Print what there is to know of each model; the exit code: 0, or that of the first that would not be served.

    Raises:
        LoadError: when the target means no model.
    """
    code = 0
    reports = []
    for offer in offered(environ, target):
        try:
            loaded = timed_load(offer)
        except LoadError as error:
            code = code or error.exit_code
            reports.append(_failure(offer, error))
            if not as_json:
                print(facts(_failure_facts(offer, error)), end="\n\n")
            continue
        report = describe(loaded)
        reports.append(report)
        if not as_json:
            print(facts(_facts(report, loaded)), end="\n\n")
        loaded.model.engine.close()
    if as_json:
        json.dump(reports[0] if len(reports) == 1 else reports, sys.stdout, indent=2)
        print()
    return code


def describe(loaded: Loaded) -> dict[str, Any]:
    """The report of a model that would be served, as JSON has it; sizes in bytes, times in seconds."""
    model, profile = loaded.model.model, loaded.model.profile
    folder = not loaded.offer.settings.model_uri.lower().endswith(".onnx")
    file = _read(loaded.model.source)
    return {
        "name": model.name,
        "version": model.version,
        "served": True,
        "source": loaded.offer.settings.model_uri.split("?", 1)[0],
        "digest": model.digest,
        "bytes": _bytes(loaded.model.source, folder),
        **_graph(file),
        "inputs": [_tensor(spec) for spec in model.signature.inputs],
        "outputs": [_tensor(spec) for spec in model.signature.outputs],
        **_engine(loaded),
        "batching": {
            "batchable": profile.batchable,
            "reason": profile.reason,
            "max_rows": profile.max_rows,
            "runs_at_once": profile.runs,
            "seconds": {str(rows): seconds for rows, seconds in profile.seconds.items()},
        },
        "golden_requests": loaded.model.golden_requests,
        "load_seconds": round(loaded.seconds, 3),
    }


def _engine(loaded: Loaded) -> dict[str, Any]:
    from haldane_runtime.engine import onnx

    version, providers = onnx.build()
    converted = loaded.model.path != loaded.model.source
    return {
        "onnxruntime": version,
        "providers": providers,
        "device": loaded.model.model.device,
        "precision": loaded.model.model.precision,
        **({"converted_bytes": _model_bytes(loaded.model.path.parent)} if converted else {}),
        "threads": loaded.model.threads,
        "threads_allowed": usable_threads(),
    }


def _graph(file: ModelFile | None) -> dict[str, Any]:
    if file is None:
        return {}
    return {
        "ir_version": file.ir_version,
        "producer": file.producer,
        "opsets": dict(file.opsets),
        "operators": dict(sorted(file.operators.items(), key=lambda one: (-one[1], one[0]))),
        "parameters": file.parameters,
    }


def _read(path: Path) -> ModelFile | None:
    """None for another format that ONNX Runtime reads, such as its own ORT format."""
    try:
        return read_model_file(path)
    except ValueError:
        return None


def _bytes(path: Path, folder: bool) -> int:
    files = path.parent.rglob("*") if folder else [path]
    return sum(file.stat().st_size for file in files if file.is_file())


def _model_bytes(folder: Path) -> int:
    """Of a converted model, whose weights may lie beside it, as its loss does."""
    return sum(file.stat().st_size for file in folder.iterdir() if file.suffix != ".json")


def _tensor(spec: TensorSpec) -> dict[str, Any]:
    return {
        "name": spec.name,
        "datatype": str(spec.datatype),
        "shape": [dim if dim != "" else -1 for dim in spec.shape],
    }


def _facts(report: dict[str, Any], loaded: Loaded) -> list[tuple[str, str]]:
    signature = loaded.model.model.signature
    return [
        ("model", f"{report['name']}, version {report['version']}: it would be served"),
        ("source", f"{report['source']}, {size(report['bytes'])}, sha256 {report['digest'][:12]}…"),
        *_graph_facts(report),
        *_tensor_facts("inputs", signature.inputs),
        *_tensor_facts("outputs", signature.outputs),
        ("engine", f"ONNX Runtime {report['onnxruntime']} on {report['device']}, {_precision_fact(report)}"),
        ("", f"providers here: {', '.join(report['providers'])}"),
        ("threads", f"{report['threads']} for one run, of {report['threads_allowed']} allowed"),
        *_batching_facts(report["batching"]),
        ("golden", _golden_fact(report["golden_requests"])),
        ("load", f"{report['load_seconds']:.2f} s"),
    ]


def _precision_fact(report: dict[str, Any]) -> str:
    if "converted_bytes" not in report:
        return str(report["precision"])
    return f"{report['precision']}, converted from the source to {size(report['converted_bytes'])}"


def _graph_facts(report: dict[str, Any]) -> list[tuple[str, str]]:
    if "opsets" not in report:
        return [("format", "not ONNX's own protobuf")]
    opsets = ", ".join(f"{domain} {version}" for domain, version in report["opsets"].items())
    operators = report["operators"]
    shown = ", ".join(f"{count} {name}" for name, count in list(operators.items())[:OPERATORS_SHOWN])
    more = ", …" if len(operators) > OPERATORS_SHOWN else ""
    producer = f", made by {report['producer']}" if report["producer"] else ""
    return [
        ("format", f"IR version {report['ir_version']}, opset {opsets}{producer}"),
        (
            "graph",
            f"{counted(sum(operators.values()), 'node')}: {shown}{more}; {counted(report['parameters'], 'parameter')}",
        ),
    ]


def _tensor_facts(title: str, specs: tuple[TensorSpec, ...]) -> list[tuple[str, str]]:
    width = max((len(spec.name) for spec in specs), default=0)
    lines = [f"{spec.name:{width}}  {spec.datatype} {shape(spec)}" for spec in specs] or ["none"]
    return [(title if place == 0 else "", line) for place, line in enumerate(lines)]


def _batching_facts(batching: dict[str, Any]) -> list[tuple[str, str]]:
    seconds = {int(rows): one for rows, one in batching["seconds"].items()}
    verdict = f"up to {batching['max_rows']} rows in a run" if batching["batchable"] else "off"
    measured = ", ".join(f"{rows}: {milliseconds(one)}" for rows, one in seconds.items())
    return [
        ("batching", f"{verdict}. {batching['reason']}"),
        *([("", f"milliseconds of a run by rows: {measured}")] if seconds else []),
        *(
            [("", f"{batching['runs_at_once']} runs at once, when as many requests wait")]
            * (batching["runs_at_once"] > 1)
        ),
    ]


def _golden_fact(requests: int) -> str:
    if not requests:
        return "no golden requests; put golden.json beside the model to have its answers checked at every load"
    return f"{counted(requests, 'request')} answered as expected"


def _failure(offer: Offer, error: LoadError) -> dict[str, Any]:
    return {
        "name": offer.name,
        "version": offer.version,
        "served": False,
        "source": offer.settings.model_uri.split("?", 1)[0],
        "reason": str(error.reason),
        "message": error.message,
    }


def _failure_facts(offer: Offer, error: LoadError) -> list[tuple[str, str]]:
    version = f", version {offer.version}" if offer.version else ""
    return [
        ("model", f"{offer.name}{version}: it would not be served"),
        ("source", offer.settings.model_uri.split("?", 1)[0]),
        ("reason", f"{error.reason}: {error.message}"),
    ]
