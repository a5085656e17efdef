"""Draws results.json: `python draw.py results.json plot.svg`."""

import itertools
import json
import statistics
import sys
from pathlib import Path

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt

PANELS = (
    ("json c=64", "JSON, c = 64"),
    ("binary c=64", "binary, c = 64"),
    ("grpc c=64", "gRPC, c = 64"),
    ("trees c=64", "boosted trees, JSON, c = 64"),
    ("image c=16", "image, binary, c = 16"),
)
OURS, OTHERS = "#c2410c", "#64748b"
COLOURS = ("#1d4ed8", "#15803d", "#7e22ce", "#a16207", "#0e7490", "#be185d", "#4b5563", "#65a30d")


def bars(axes, closed, titles, key, title):
    rates = {
        titles[server]: [reading["rate"] for reading in cells[key]]
        for server, cells in closed.items()
        if server in titles and key in cells
    }
    order = sorted(rates, key=lambda name: statistics.median(rates[name]))
    middles = [statistics.median(rates[name]) for name in order]
    spans = [
        [middle - min(rates[name]) for name, middle in zip(order, middles, strict=True)],
        [max(rates[name]) - middle for name, middle in zip(order, middles, strict=True)],
    ]
    colours = [OURS if name == titles.get("haldane") else OTHERS for name in order]
    axes.barh(order, middles, xerr=spans, color=colours, ecolor="#111827", capsize=2, height=0.7)
    for row, (middle, above) in enumerate(zip(middles, spans[1], strict=True)):
        axes.annotate(
            f"{middle:,.0f}", (middle + above, row), xytext=(5, 0), textcoords="offset points", va="center", fontsize=8
        )
    axes.set_title(title, fontsize=10)
    axes.set_xlim(0, max(map(sum, zip(middles, spans[1], strict=True)), default=1) * 1.25)
    axes.set_xlabel("answers a second", fontsize=8)
    axes.tick_params(labelsize=8)


def tails(axes, opened, titles):
    others = itertools.cycle(COLOURS)
    for server, rates in opened.items():
        colour = OURS if server == "haldane" else next(others)
        points = sorted(
            (float(rate), statistics.median(r["p99"] for r in readings)) for rate, readings in rates.items()
        )
        x, y = zip(*points, strict=True)
        axes.loglog(x, [value * 1e3 for value in y], "o-", label=titles[server], color=colour, markersize=4)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.xaxis.set_minor_formatter(lambda *_: "")
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.yaxis.set_minor_formatter(lambda *_: "")
    axes.set_title("open loop, JSON: p99 at fixed rates", fontsize=10)
    axes.set_xlabel("requests a second", fontsize=8)
    axes.set_ylabel("p99, ms", fontsize=8)
    axes.tick_params(labelsize=8)
    axes.grid(alpha=0.3)
    if opened:
        axes.legend(fontsize=7, loc="upper left", bbox_to_anchor=(1, 1))


def main(source: Path, target: Path) -> None:
    results = json.loads(source.read_text())
    titles = results["titles"]
    present = [panel for panel in PANELS if any(panel[0] in cells for cells in results["closed"].values())]
    count = len(present) + bool(results["open"])
    rows = max(1, -(-count // 3))
    figure, grid = plt.subplots(rows, 3, figsize=(14, 3.6 * rows), squeeze=False)
    flat = list(grid.flat)
    for axes, (key, title) in zip(flat, present, strict=False):
        bars(axes, results["closed"], titles, key, title)
    if results["open"]:
        tails(flat[len(present)], results["open"], titles)
    for axes in flat[count:]:
        axes.axis("off")
    for axes in flat:
        axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    # The same results draw the same bytes.
    plt.rcParams |= {"svg.hashsalt": "haldane", "svg.fonttype": "none"}
    figure.savefig(target, metadata={"Date": None})


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
