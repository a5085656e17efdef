"""What is measured, on which servers, in which order, for how long."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from bench.runtime.servers import Server

LEVELS = (1, 16, 64)
PEAK = "json c=64"
"""The cell whose rate is taken for a server's peak."""
_OF_GOALS = ("json c=1", PEAK, "binary c=64", "grpc c=64")
IMAGE_LEVEL = 16
"""Requests of 600 kB each that are in flight: enough to keep every core busy, without measuring how a queue holds 40 MB."""
OPEN_SHARE = 0.8


@dataclass(frozen=True, slots=True)
class Cell:
    """One figure of one server: closed loop with `concurrency` requests in flight."""

    name: str
    model: str
    wire: str
    concurrency: int

    @property
    def key(self) -> str:
        return f"{self.name} c={self.concurrency}"


CELLS = tuple(
    [Cell(wire, "mlp", wire, level) for wire in ("json", "binary", "grpc") for level in LEVELS]
    + [Cell("image", "image", "binary", IMAGE_LEVEL), Cell("trees", "trees", "json", 64)]
)
NAMES = ("json", "binary", "grpc", "image", "trees", "open")
"""What `--cells` may name; `open` is the open loop, JSON to the MLP."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How long everything takes: rounds, seconds a cell in the closed loop, seconds a rate in the open one."""

    rounds: int
    seconds: int
    open_seconds: float
    quick: bool = False
    """Leave out what no goal speaks of."""

    def of(self, cell: Cell) -> int:
        """Seconds for a cell; an image takes long enough that one second would count too few."""
        return max(4, 2 * self.seconds) if cell.model == "image" else self.seconds


FULL = Pace(rounds=3, seconds=2, open_seconds=2.0)
QUICK = Pace(rounds=1, seconds=1, open_seconds=1.5, quick=True)


def cells(server: Server, model: str, names: Collection[str], quick: bool) -> list[Cell]:
    """The cells of one start of a server, in the order in which they are measured."""
    return [
        cell
        for cell in CELLS
        if cell.model == model
        and cell.name in names
        and cell.wire in server.wires
        and (not quick or cell.model != "mlp" or cell.key in _OF_GOALS)
    ]


def turn(servers: Sequence[Server], round_number: int) -> list[Server]:
    """The order of a round: each begins with another server, so that none always has the same neighbour of time."""
    start = round_number % len(servers) if servers else 0
    return [*servers[start:], *servers[:start]]


def open_rates(peaks: Mapping[str, float], ours: str, quick: bool) -> dict[str, list[float]]:
    """For each server the rates at which it is measured: 80 % of every peak that is not above its own.

    So each server is measured at 80 % of its own peak, and every two servers meet at the same absolute rates; in a quick run
    only our own server meets the others.
    """
    rates = sorted({OPEN_SHARE * peak for peak in peaks.values()})
    return {
        name: [
            rate
            for rate in rates
            if rate <= OPEN_SHARE * peak and (not quick or name == ours or rate == OPEN_SHARE * peak)
        ]
        for name, peak in peaks.items()
    }
