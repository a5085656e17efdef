"""A few requests to one pod before any traffic: what is asked, what the answers say, and how long they took.

The requests are the golden ones of the spec, where it has some, otherwise made up by the signature. Of made-up ones nobody
knows the right answer: what stable answers to the very same requests is the measure, and without it nothing is refused.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from haldane.api.model import Golden
from haldane.api.quantity import parse_duration
from haldane.api.spec import ModelDeploymentSpec
from haldane.plan.gates_signature import Signature, Tensor, fits, shape_text, shortened, takes
from haldane.plan.verdicts import seconds

GROSSLY = 10.0
"""How many times slower than stable a candidate must be to be refused for that alone."""
NOTICEABLE = 0.1
"""Seconds that it must be slower as well: a tenth of a millisecond and a whole one are no matter for alarm."""
ENOUGH = 3
"""Timed answers of stable that a comparison needs."""
VARIANTS = 3
"""Different requests that are sent in turn."""
LARGEST = 100_000
"""Values in the inputs of a made-up request, at the most."""

_MADE_UP: Mapping[str, tuple[Any, Any, Any]] = {
    "BOOL": (False, True, True),
    # Digits pass where a model turns texts into numbers.
    "BYTES": ("0", "1", "a"),
    "FP32": (0.0, 1.0, 0.5),
    "FP64": (0.0, 1.0, 0.5),
    **{f"{kind}{bits}": (0, 1, 1) for kind in ("INT", "UINT") for bits in (8, 16, 32, 64)},
}
"""By datatype. What JSON cannot carry in the protocol (FP16, BF16) is not made up."""


@dataclass(frozen=True)
class Request:
    """One request. `name` is for people; `expected` are the golden outputs, None for a made-up request."""

    name: str
    body: Mapping[str, Any] = field(hash=False)
    expected: Sequence[Mapping[str, Any]] | None = field(default=None, hash=False)


@dataclass(frozen=True)
class Answer:
    """What one request brought. `code` is the HTTP status; 0 when nothing came in time."""

    request: int
    """Index of the request."""
    code: int
    seconds: float
    problem: str = ""
    """What the runtime says is wrong, or why nothing came."""
    unreadable: bool = False
    """Whether the answer was too large to be looked at, or no JSON: only its time counts."""
    nonfinite: frozenset[str] = frozenset()
    """Outputs that hold NaN or an infinity."""
    shapes: tuple[tuple[str, tuple[int, ...]], ...] = ()

    @property
    def is_good(self) -> bool:
        """Whether the model answered."""
        return self.code == 200


def golden_requests(golden: Golden | None) -> tuple[Request, ...]:
    """The first few golden requests of the spec; those of a file beside the model only its runtime knows."""
    requests = golden.requests[:VARIANTS] if golden else []
    return tuple(
        Request(f"golden request {number}", {"inputs": request.inputs}, request.outputs)
        for number, request in enumerate(requests)
    )


def made_up(signature: Signature) -> tuple[Request, ...]:
    """One row of zeros, of ones and of something between; none where that is not possible."""
    if sum(_size(tensor) for tensor in signature.inputs) > LARGEST:
        return ()
    if not all(tensor.datatype in _MADE_UP for tensor in signature.inputs):
        return ()
    names = ("zeros", "ones", "halves")
    return tuple(
        Request(f"a made-up request of {names[variant]}", {"inputs": [_tensor(t, variant) for t in signature.inputs]})
        for variant in range(VARIANTS)
    )


def read_answer(request: int, code: int, document: Any, took: float) -> Answer:
    """An answer of `POST /v2/models/{model}/infer`; `document` is its JSON, None when it has none that could be read."""
    if code != 200:
        error = document.get("error") if isinstance(document, dict) else None
        return Answer(request, code, took, " ".join(str(error or f"HTTP {code}").split())[:300])
    try:
        outputs = [(str(o["name"]), tuple(int(n) for n in o["shape"]), o.get("data")) for o in document["outputs"]]
    except (KeyError, TypeError, ValueError):
        return Answer(request, code, took, unreadable=True)
    bad = frozenset(name for name, _, data in outputs if data is not None and _holds_nonfinite(data))
    return Answer(request, code, took, nonfinite=bad, shapes=tuple((name, shape) for name, shape, _ in outputs))


def failed(requests: Sequence[Request], own: Sequence[Answer], theirs: Sequence[Answer]) -> str | None:
    """Why the answers refuse the candidate: it breaks on a golden request, or refuses one that stable takes; else None.

    A request that neither takes is one that JSON cannot carry: the runtime itself has answered it before it was ready.
    """
    taken = {answer.request for answer in theirs if answer.is_good}
    for answer in own:
        request = requests[answer.request]
        if request.expected is not None and (answer.code == 500 or (answer.code == 400 and answer.request in taken)):
            return f"{request.name} is answered with {answer.code}: {answer.problem}"
    return None


def turns(requests: Sequence[Request]) -> int:
    """How often the requests are sent in turn, so that enough answers are timed."""
    return 1 + max(1, math.ceil(ENOUGH / len(requests))) if requests else 0


def nonfinite(requests: Sequence[Request], own: Sequence[Answer], theirs: Sequence[Answer]) -> str | None:
    """Why NaN or an infinity refuses the candidate; None when none came, it is expected, or stable gives it as well."""
    usual = {name for answer in theirs for name in answer.nonfinite}
    compared = {answer.request for answer in theirs if answer.is_good and not answer.unreadable}
    for answer in own:
        expected = requests[answer.request].expected
        if expected is not None:
            allowed = {str(o.get("name")) for o in expected if _holds_nonfinite(o.get("data"))}
            if bad := sorted(answer.nonfinite - allowed - usual):
                return f'output "{shortened(bad[0])}" holds NaN or Infinity in the answer to {requests[answer.request].name}'
    # A model may well divide by a made-up zero: only what is wrong of everything that stable answers well is wrong.
    good = [a for a in own if a.is_good and not a.unreadable and requests[a.request].expected is None]
    common = [answer for answer in good if answer.request in compared]
    always = frozenset.intersection(*(answer.nonfinite for answer in common)) if common else frozenset()
    if bad := sorted(always - usual):
        return f'output "{shortened(bad[0])}" holds NaN or Infinity for every request, where stable gives numbers'
    return None


def misshapen(requests: Sequence[Request], own: Sequence[Answer], stable: Signature | None, version: str) -> str | None:
    """Which answer has another shape than stable's signature promises; None when none has, or nothing is promised.

    It is promised to requests that stable takes: a batch of eight says nothing of a candidate that takes one row as well.
    """
    if stable is None:
        return None
    promised = {tensor.name: tensor for tensor in stable.outputs}
    for answer in own:
        request = requests[answer.request]
        if not takes(stable, request.body["inputs"]):
            continue
        for name, shape in answer.shapes:
            if name in promised and not fits(promised[name], shape):
                what = f'output "{shortened(name)}" has shape {shape_text(shape)} in the answer to {request.name}'
                return f"{what}, where version {version} promises {promised[name]}"
    return None


@dataclass(frozen=True)
class Pace:
    """How fast both answer, in seconds: the candidate's fastest, and stable's median (None without enough of them)."""

    own: float
    theirs: float | None
    timed: int
    """Answers of the candidate that were timed."""


def pace(own: Sequence[Answer], theirs: Sequence[Answer]) -> Pace | None:
    """None without an answer of the candidate. The first answer of each request is not timed: it pays for what no later does."""
    mine, stables = list(_timed(own)), list(_timed(theirs))
    if not mine:
        return None
    return Pace(min(mine), median(stables) if len(stables) >= ENOUGH else None, len(mine))


def too_slow(spec: ModelDeploymentSpec, measured: Pace, version: str) -> str | None:
    """Why the candidate's pace refuses it; None when it does not.

    With a limit in the spec, its fastest answer is beyond that. Otherwise it is grossly slower than stable, and slower than
    any latency that a check allows: who allows 500 ms has said that so much is fine. What an idle pod waits for more rows,
    because the spec says so, is not counted.
    """
    rollout, batching = spec.rollout, spec.runtime.batching
    figures = f"the fastest of {measured.timed} requests to an idle pod took {seconds(measured.own)}"
    if rollout.smoke_latency:
        limit = parse_duration(rollout.smoke_latency).total_seconds()
        return f"{figures}, and rollout.smokeLatency allows {rollout.smoke_latency}" if measured.own > limit else None
    if measured.theirs is None:
        return None
    allowed = [parse_duration(c.latency.max).total_seconds() for c in rollout.checks if c.latency and c.latency.max]
    least = max(GROSSLY * measured.theirs, measured.theirs + NOTICEABLE, *allowed)
    idle = parse_duration(batching.max_delay).total_seconds() if batching and batching.max_delay else 0.0
    if measured.own - idle <= least:
        return None
    times = f"{measured.own / measured.theirs:.0f} times" if measured.theirs else "far more than"
    return f"{figures}, {times} the {seconds(measured.theirs)} of version {version}"


def _timed(answers: Sequence[Answer]) -> Iterator[float]:
    seen: set[int] = set()
    for answer in answers:
        if answer.is_good and answer.request in seen:
            yield answer.seconds
        seen.add(answer.request)


def _size(tensor: Tensor) -> int:
    return math.prod(size if size > 0 else 1 for size in tensor.shape)


def _tensor(tensor: Tensor, variant: int) -> dict[str, Any]:
    shape = [size if size > 0 else 1 for size in tensor.shape]
    data = [_MADE_UP[tensor.datatype][variant]] * _size(tensor)
    return {"name": tensor.name, "datatype": tensor.datatype, "shape": shape, "data": data}


def _holds_nonfinite(data: Any) -> bool:
    """JSON has neither NaN nor infinities: runtimes write null, or words that Python's parser takes for the numbers."""
    if isinstance(data, list):
        return any(_holds_nonfinite(item) for item in data)
    return data is None or (isinstance(data, float) and not math.isfinite(data))
