"""The goals, as ratios within one run, and what the run says about each."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from bench.runtime.results import ECHO, ECHO_AND_RUN, LIMIT, Results
from bench.runtime.servers import Server

OURS = "haldane"


@dataclass(frozen=True, slots=True)
class Verdict:
    """One goal: what was asked for, what came out (the worst of the peers it speaks of), whether that is enough."""

    goal: str
    measured: str
    met: bool


def judge(results: Results, servers: Sequence[Server]) -> list[Verdict]:
    """Every goal for which this run has both sides."""
    titles = {server.name: server.title for server in servers}
    python = [server.name for server in servers if server.python and not server.name.startswith((OURS, "fastapi"))]
    verdicts = [
        _rate(results, titles, "JSON, c = 64", "json c=64", ["triton"], 1.3, "times Triton"),
        _rate(results, titles, "JSON, c = 64", "json c=64", python, 10, "times every Python peer"),
        _rate(results, titles, "JSON, c = 64", "json c=64", ["fastapi"], 5, "times the FastAPI route"),
        _rate(results, titles, "binary, c = 64", "binary c=64", ["triton"], 1.5, "times Triton"),
        _rate(results, titles, "gRPC, c = 64", "grpc c=64", ["triton"], 1, "times Triton"),
        _one_connection(results),
        _image(results),
        _rate(
            results,
            titles,
            "boosted trees, JSON, c = 64",
            "trees c=64",
            [*python, "fastapi", "fastapi-workers"],
            2,
            "times every Python peer",
        ),
        _tail(results, titles),
    ]
    return [verdict for verdict in verdicts if verdict]


def limit(results: Results, model: str) -> float:
    """The best rate of raw `session.run` over the ways to use the cores; 0 when it was not measured."""
    keys = [key for key in results.closed.get(LIMIT, {}) if key.startswith(f"{model} ")]
    return max((summary.rate for key in keys if (summary := results.get(LIMIT, key))), default=0.0)


def floor(results: Results) -> float:
    """p50 of an ASGI application that echoes and runs the model once, in seconds; NaN without it."""
    found = results.get(ECHO_AND_RUN, "json c=1")
    return found.p50 if found else math.nan


def apart(results: Results) -> float:
    """p50 of a raw ASGI echo plus p50 of `session.run` in a loop of its own, in seconds; NaN without them.

    Less than `floor`, since a run that follows another finds the model in the processor's cache.
    """
    echo, run = results.get(ECHO, "json c=1"), results.get(LIMIT, "mlp 1 callers, 1 threads")
    return echo.p50 + run.p50 if echo and run else math.nan


def _rate(
    results: Results, titles: dict[str, str], what: str, key: str, peers: Sequence[str], target: float, unit: str
) -> Verdict | None:
    ours = results.get(OURS, key)
    theirs = {peer: summary.rate for peer in peers if (summary := results.get(peer, key))}
    if not ours or not theirs:
        return None
    best = max(theirs, key=theirs.__getitem__)
    ratio = ours.rate / theirs[best] if theirs[best] else math.inf
    name = f" ({titles[best]})" if len(peers) > 1 else ""
    return Verdict(f"{what}: at least {target:g} {unit}", f"{ratio:.2f}{name}", ratio >= target)


def _one_connection(results: Results) -> Verdict | None:
    ours, least = results.get(OURS, "json c=1"), floor(results)
    if not ours or math.isnan(least):
        return None
    ratio = ours.p50 / least
    goal = "JSON, c = 1, p50: at most 1.3 times raw ASGI echo plus raw session.run"
    measured = f"{ratio:.2f} ({ours.p50 * 1e6:.0f} against {least * 1e6:.0f} us"
    if not math.isnan(two := apart(results)):
        measured += f"; the two apart {two * 1e6:.0f} us"
    return Verdict(goal, f"{measured})", ratio <= 1.3)


def _image(results: Results) -> Verdict | None:
    ours, most = results.get(OURS, "image c=16"), limit(results, "image")
    if not ours or not most:
        return None
    ratio = ours.rate / most
    return Verdict("image, binary: at least 0.95 of raw session.run", f"{ratio:.3f}", ratio >= 0.95)


def _tail(results: Results, titles: dict[str, str]) -> Verdict | None:
    """Each peer is met at 80 % of its own peak, the highest of its rates."""
    ratios = {}
    for peer, rates in results.open.items():
        ours, theirs = results.at(OURS, max(rates)), results.at(peer, max(rates))
        if peer != OURS and theirs and OURS in results.open:
            # A rate that only the peer reaches cannot be met.
            ratios[peer] = ours.p99 / theirs.p99 if ours else math.inf
    if not ratios:
        return None
    worst = max(ratios, key=ratios.__getitem__)
    goal = "open loop, p99 at 80 % of each peer's peak: at most half of the peer's at the same rate"
    return Verdict(goal, f"{ratios[worst]:.2f} ({titles[worst]})", ratios[worst] <= 0.5)
