"""A model at another precision: converted once, kept on disk, and held against fp32.

    <root>/<key>/model.onnx     the converted model, with its weights beside it when they are large
    <root>/<key>/loss.json      how far it was from fp32, on which output, and measured under which conditions

The key names all that the converted model follows from, so that a restart finds it and a new version of
the tools does not. A folder is published by one rename. The loss also follows from the inputs and from
where they are computed: it is measured again, without another conversion, when those change.
"""

import hashlib
import json
import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from haldane_runtime.core.errors import LoadError, Reason, RequestError
from haldane_runtime.core.types import Datatype, ModelSignature
from haldane_runtime.engine.base import Engine
from haldane_runtime.engine.comparison import Tolerance, deviation
from haldane_runtime.engine.samples import Inputs

# Raised with every change of how `conversion` calls its tools.
_RECIPE = 1
_NOTHING = 3
_CONVERSION_SECONDS = 1800
_MODEL, _LOSS = "model.onnx", "loss.json"
# A protobuf ends at 2 GiB: large weights go into a file beside the model.
_SINGLE_FILE_BYTES = 1 << 30


@dataclass(frozen=True, slots=True)
class Precision:
    """`name` is fp32, fp16 or int8; `tolerance` is relative to the largest number of an output."""

    name: str
    tolerance: float

    @property
    def reduced(self) -> bool:
        return self.name != "fp32"

    def widened(self, tolerance: Tolerance) -> Tolerance:
        """What golden answers, which were made at fp32, are held against."""
        if not self.reduced:
            return tolerance
        return replace(tolerance, relative=max(tolerance.relative, self.tolerance), scaled=self.tolerance)


@dataclass(frozen=True, slots=True)
class Loss:
    """The output that is furthest from fp32, and how far; see `comparison.deviation`."""

    output: str
    deviation: float


def require_supported(precision: Precision, device: str, providers: Sequence[str]) -> None:
    """Raises: LoadError: InvalidConfiguration."""
    if precision.name == "int8" and device == "gpu" and "TensorRT" not in providers:
        raise LoadError(
            Reason.INVALID_CONFIGURATION,
            "On a GPU only TensorRT computes with int8; add it to HALDANE_PROVIDERS, or set HALDANE_PRECISION to fp16.",
        )


def key(digest: str, precision: str, golden: str, tools: str) -> str:
    """Names the result of a conversion of the model with that digest; `golden` is what it is calibrated with."""
    facts = json.dumps([digest, precision, golden if precision == "int8" else "", tools, _RECIPE])
    return f"{digest[:16]}-{precision}-{hashlib.sha256(facts.encode()).hexdigest()[:16]}"


def conditions(golden: str, device: str, providers: Sequence[str]) -> str:
    """Names what a measured loss follows from, beside the two models."""
    return hashlib.sha256(json.dumps([golden, device, list(providers)]).encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Samples:
    """Inputs to compare with; `real` when they are golden requests, which may calibrate a conversion."""

    requests: Sequence[Inputs]
    real: bool


@dataclass(frozen=True, slots=True)
class Source:
    """The model at fp32: its file, the bytes of all its files, the key of what it becomes, and `conditions`."""

    path: Path
    size: int
    key: str
    conditions: str


def converted(
    source: Source,
    precision: Precision,
    root: Path,
    staging: Callable[[str], AbstractContextManager[Path]],
    open_model: Callable[[Path], Engine],
    samples: Callable[[Engine], Samples],
) -> Path:
    """The .onnx file at that precision below `root`: as it was left there, or made now in a folder of `staging`.

    Raises:
        LoadError: PrecisionLoss beyond the tolerance, InvalidConfiguration when there is nothing to convert
            or to compare with, LoadFailed when the tools fail, and as `open_model` does.
        OSError: nothing can be written.
    """
    folder = root / source.key
    loss = _known(folder / _LOSS, source.conditions)
    if loss is None:
        with staging(source.key) as place:
            # What a killed process left is not continued, and its tools may still be writing: a new name for each try.
            for left in place.iterdir():
                shutil.rmtree(left, ignore_errors=True)
            made = place / secrets.token_hex(4)
            made.mkdir()
            kept = folder / _MODEL if (folder / _LOSS).is_file() else None
            loss = _measure(source, precision, made, kept, open_model, samples)
            (made / _LOSS).write_text(json.dumps({"conditions": source.conditions, **asdict(loss)}))
            if kept:
                (made / _LOSS).replace(folder / _LOSS)
            else:
                _publish(made, folder)
    require_close(loss, precision)
    return folder / _MODEL


def _known(file: Path, conditions: str) -> Loss | None:
    """The loss as it was measured under the same conditions."""
    try:
        found = json.loads(file.read_text())
        return Loss(found["output"], found["deviation"]) if found["conditions"] == conditions else None
    except (FileNotFoundError, ValueError, KeyError):
        return None


def require_close(loss: Loss, precision: Precision) -> None:
    """Raises: LoadError: PrecisionLoss, with the numbers."""
    if loss.deviation > precision.tolerance:
        raise LoadError(
            Reason.PRECISION_LOSS,
            f"At {precision.name} the output '{loss.output}' is off by {loss.deviation:.3g} of what it is at fp32, more than "
            f"the {precision.tolerance:g} that HALDANE_PRECISION_TOLERANCE allows; raise it, or set HALDANE_PRECISION to "
            "fp32.",
        )


def furthest(reference: Engine, other: Engine, requests: Sequence[Inputs]) -> Loss:
    """Run both on all requests; the output that differs most.

    Raises:
        RequestError: as `Engine.run`.
    """
    names = [spec.name for spec in reference.signature.outputs]
    worst = Loss(names[0], 0.0)
    for request in requests:
        expected, got = reference.run(request, names), other.run(request, names)
        for spec in reference.signature.outputs:
            far = deviation(spec.datatype, got[spec.name], expected[spec.name])
            worst = max(worst, Loss(spec.name, far), key=lambda loss: loss.deviation)
    return worst


def _measure(
    source: Source,
    precision: Precision,
    made: Path,
    kept: Path | None,
    open_model: Callable[[Path], Engine],
    samples: Callable[[Engine], Samples],
) -> Loss:
    """The loss of the converted model that is `kept`; of one that is first made in `made` when none is."""
    # First, since it also refuses what must not be read, such as weights outside the model's folder.
    reference = open_model(source.path)
    found = samples(reference)
    if not found.requests:
        raise LoadError(
            Reason.INVALID_CONFIGURATION,
            f"The model at {precision.name} cannot be compared with fp32, because it takes none of the inputs tried; give "
            "golden requests.",
        )
    if kept is None:
        with _calibration(made, precision, found, reference.signature) as calibration:
            _run_tools(source, precision.name, made, calibration)
    other = open_model(kept or made / _MODEL)
    if _interface(other.signature) != _interface(reference.signature):
        raise LoadError(
            Reason.LOAD_FAILED, f"The model changes its inputs or outputs when it is made {precision.name}."
        )
    try:
        return furthest(reference, other, found.requests)
    except RequestError as error:
        raise LoadError(
            Reason.LOAD_FAILED,
            f"The model does not run at {precision.name}: {error.message}; set HALDANE_PRECISION to fp32.",
        ) from error
    finally:
        reference.close()
        other.close()


@contextmanager
def _calibration(made: Path, precision: Precision, found: Samples, signature: ModelSignature) -> Iterator[Path | None]:
    """The requests in a file, when they are real and of use; made-up ones would scale the model to nothing real."""
    # The calibration reads no strings, and no bfloat16.
    readable = all(spec.datatype not in (Datatype.BYTES, Datatype.BF16) for spec in signature.inputs)
    if precision.name != "int8" or not found.real or not readable:
        yield None
        return
    file = made / "calibration.npz"
    arrays: dict[str, Any] = {
        f"{number}:{name}": one[name] for number, one in enumerate(found.requests) for name in one
    }
    np.savez(file, **arrays)
    yield file
    file.unlink()


def _interface(signature: ModelSignature) -> list[tuple[str, Datatype, int]]:
    return [(spec.name, spec.datatype, len(spec.shape)) for spec in (*signature.inputs, *signature.outputs)]


def _run_tools(source: Source, precision: str, staging: Path, calibration: Path | None) -> None:
    job = {
        "precision": precision,
        "source": str(source.path),
        "target": str(staging / _MODEL),
        "external": source.size > _SINGLE_FILE_BYTES,
        "calibration": str(calibration) if calibration else None,
    }
    try:
        done = subprocess.run(
            [sys.executable, "-m", "haldane_runtime.engine.conversion", json.dumps(job)],
            env=os.environ | {"TMPDIR": str(staging), "ORT_DISABLE_TELEMETRY": "1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            timeout=_CONVERSION_SECONDS,
            check=False,
            text=True,
            errors="replace",
        )
    except subprocess.TimeoutExpired as error:
        raise LoadError(
            Reason.LOAD_FAILED, f"The conversion to {precision} took longer than {_CONVERSION_SECONDS} seconds."
        ) from error
    if done.returncode == _NOTHING:
        advice = (
            ", at least not without golden requests to calibrate with"
            if precision == "int8" and not calibration
            else ""
        )
        raise LoadError(
            Reason.INVALID_CONFIGURATION,
            f"HALDANE_PRECISION is {precision}, but the model has nothing to convert{advice}; set it to fp32.",
        )
    if done.returncode:
        said = done.stderr.strip().splitlines()
        why = said[-1] if said else f"the tools ended with {done.returncode}"
        raise LoadError(Reason.LOAD_FAILED, f"The model cannot be converted to {precision}: {why.rstrip('.')}.")


def _publish(made: Path, folder: Path) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        made.rename(folder)
    except OSError:
        # Another process was first, and its copy is as good.
        if not (folder / _LOSS).is_file():
            raise
