"""From rows of rollouts to figures, a table and a plot."""

from __future__ import annotations

import math
import statistics
from typing import Any

from bench.rollout.rivals import RULES
from bench.rollout.scenarios import ALL, MAIN, SAME, SENSITIVITY
from haldane.plan.proportions import normal_quantile

Row = dict[str, Any]
Summary = dict[str, Any]

GOALS = {"same": 0.05, "errors-2x": 0.95, "p99-30": 0.90}


def interval(hits: int, of: int) -> tuple[float, float]:
    """Wilson's 95 % interval (1927) of a share."""
    if of == 0:
        return 0.0, 1.0
    z, share = normal_quantile(0.975), hits / of
    centre = (share + z * z / (2 * of)) / (1 + z * z / of)
    margin = z / (1 + z * z / of) * math.sqrt(share * (1 - share) / of + z * z / (4 * of * of))
    return max(0.0, centre - margin), min(1.0, centre + margin)


def summarise(rows: dict[str, dict[str, list[Row]]], seed: int, seconds: float) -> Summary:
    """All figures, as JSON."""
    return {
        "seed": seed,
        "seconds": round(seconds),
        "haldane": {name: _figures(rows["ours"][name]) for name in ALL if name in rows["ours"]},
        "rivals": {
            rule.name: {
                "rival": rule.rival,
                **{
                    name: _figures([row for row in found if row["rule"] == rule.name])
                    for name, found in rows["theirs"].items()
                },
            }
            for rule in RULES
            if rows["theirs"]
        },
    }


def _figures(rows: list[Row]) -> dict[str, Any]:
    back = [row for row in rows if row["outcome"] == "rolled back"]
    promoted = [row["seconds"] for row in rows if row["outcome"] == "promoted"]
    times = [row["seconds"] for row in back]
    # Stopped in the first two steps: rolled back there, or still there when the hour was over.
    early = sum(row["step"] in (0, 1) for row in back) + sum(bool(row.get("held")) for row in rows)
    return {
        "rollouts": len(rows),
        "rolled_back": len(back),
        "promoted": len(promoted),
        "in_hold": sum(bool(row.get("in_hold")) for row in rows),
        "early": early,
        "seconds_p50": _percentile(times, 50),
        "seconds_p95": _percentile(times, 95),
        "promoted_p50": _percentile(promoted, 50),
        "promoted_p95": _percentile(promoted, 95),
        "spoilt_mean": statistics.fmean(row["spoilt"] for row in rows) if rows else None,
        "spoilt_p50": _percentile([row["spoilt"] for row in rows], 50),
        "by_check": {
            check: sum(row.get("check") == check for row in back)
            for check in sorted({row.get("check") or "" for row in back})
        },
    }


def _percentile(values: list[float], percent: float) -> float | None:
    if not values:
        return None
    ordered = sorted(values)
    return round(ordered[min(len(ordered) - 1, math.ceil(percent / 100 * len(ordered)) - 1)], 1)


def markdown(summary: Summary) -> str:
    """The tables."""
    parts = [_ours(summary, [s.name for s in MAIN]), _sensitivity(summary), _compared(summary)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _share(hits: int, of: int) -> str:
    low, high = interval(hits, of)
    return f"{hits / of:.1%} ({low:.1%} to {high:.1%})"


def _time(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds / 60:.1f} min"


def _ours(summary: Summary, names: list[str]) -> str:
    head = (
        "| candidate | rollouts | rolled back | rolled back by the 10th minute at 5 % | stopped in the first two steps"
        " | time to rollback, median / p95 | spoilt requests, mean |\n|---|---|---|---|---|---|---|"
    )
    lines = [head]
    for name in names:
        figures = summary["haldane"].get(name)
        if figures:
            of = figures["rollouts"]
            good = name.endswith("same")
            lines.append(
                f"| {ALL[name].title} | {of} | {_share(figures['rolled_back'], of)}"
                f" | {'' if good else _share(figures['in_hold'], of)} | {'' if good else _share(figures['early'], of)}"
                f" | {_time(figures['seconds_p50'])} / {_time(figures['seconds_p95'])}"
                f" | {'' if good else format(figures['spoilt_mean'], '.0f')} |"
            )
    return "\n".join(lines) if len(lines) > 1 else ""


def _sensitivity(summary: Summary) -> str:
    return _ours(summary, [s.name for s in SENSITIVITY])


def _compared(summary: Summary) -> str:
    bad = [s for s in MAIN if s is not SAME and s.name in summary["haldane"]]
    if not summary["rivals"] or not bad or SAME.name not in summary["haldane"]:
        return ""
    lines = [
        "| rule | false alarms (A/A) |" + "".join(f" {s.title} |" for s in bad),
        "|---|---|" + "---|" * len(bad),
    ]
    for name, found in [("**Haldane**, default checks", summary["haldane"]), *summary["rivals"].items()]:
        same = found[SAME.name]
        cells = "".join(f" {found[s.name]['spoilt_mean']:,.0f} |" for s in bad if s.name in found)
        lines.append(f"| {name} | {same['rolled_back'] / same['rollouts']:.1%} |{cells}")
    return "\n".join(lines)


COLOURS = {"Flagger": "#1d4ed8", "Argo Rollouts": "#15803d"}
WIDTH, HEIGHT, LEFT, TOP = 380, 300, 60, 40


def svg(summary: Summary) -> str:
    """False alarms against spoilt requests, a panel for each of three faults; lower left is better."""
    panels = [ALL[name] for name in ("errors-2x", "errors-10", "p99-30") if name in summary["haldane"]]
    if not summary["rivals"] or SAME.name not in summary["haldane"] or not panels:
        return '<svg xmlns="http://www.w3.org/2000/svg" width="1" height="1"/>\n'
    width = len(panels) * (WIDTH + LEFT) + 40
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {HEIGHT + 130}" font-family="sans-serif" font-size="12">',
        f'<rect width="{width}" height="{HEIGHT + 130}" fill="white"/>',
    ]
    for index, scenario in enumerate(panels):
        parts += _panel(summary, scenario.name, scenario.title, LEFT + index * (WIDTH + LEFT))
    legend = [
        ("Haldane, default checks", "#c2410c"),
        *((f"{rival}, limits 1.2 to 5 times stable", c) for rival, c in COLOURS.items()),
    ]
    for index, (text, colour) in enumerate(legend):
        x, y = LEFT + index * 300, HEIGHT + TOP + 70
        parts += [f'<circle cx="{x}" cy="{y - 4}" r="5" fill="{colour}"/>', f'<text x="{x + 12}" y="{y}">{text}</text>']
    return "\n".join([*parts, "</svg>", ""])


def _panel(summary: Summary, name: str, title: str, left: float) -> list[str]:
    points = [("Haldane", "#c2410c", _point(summary["haldane"], name), "")]
    for rule in RULES:
        label = f"{rule.slack:g}x"
        points.append((rule.name, COLOURS[rule.rival], _point(summary["rivals"][rule.name], name), label))
    highest = max(spoilt for _, _, (_, spoilt), _ in points)
    lowest = max(1.0, min(spoilt for _, _, (_, spoilt), _ in points) / 2)

    def x(alarms: float) -> float:
        return left + WIDTH * alarms

    def y(spoilt: float) -> float:
        return TOP + HEIGHT * (1 - math.log(max(spoilt, lowest) / lowest) / math.log(highest / lowest * 1.2))

    parts = [
        f'<text x="{left}" y="{TOP - 14}" font-weight="bold">{title}</text>',
        f'<rect x="{left}" y="{TOP}" width="{WIDTH}" height="{HEIGHT}" fill="none" stroke="#9ca3af"/>',
        f'<text x="{left + WIDTH / 2}" y="{TOP + HEIGHT + 36}" text-anchor="middle">false alarms: good versions rolled back</text>',
        f'<text transform="translate({left - 44},{TOP + HEIGHT / 2}) rotate(-90)" text-anchor="middle">spoilt requests, mean</text>',
    ]
    for tick in (0.0, 0.25, 0.5, 0.75, 1.0):
        parts.append(f'<text x="{x(tick)}" y="{TOP + HEIGHT + 18}" text-anchor="middle">{tick:.0%}</text>')
    decade = 10.0 ** math.ceil(math.log10(lowest))
    while decade <= highest * 1.2:
        parts += [
            f'<line x1="{left}" x2="{left + WIDTH}" y1="{y(decade)}" y2="{y(decade)}" stroke="#e5e7eb"/>',
            f'<text x="{left - 6}" y="{y(decade) + 4}" text-anchor="end">{decade:,.0f}</text>',
        ]
        decade *= 10
    for text, colour, (alarms, spoilt), label in points:
        radius = 8 if not label else 4
        parts.append(
            f'<circle cx="{x(alarms):.1f}" cy="{y(spoilt):.1f}" r="{radius}" fill="{colour}"><title>{text}</title></circle>'
        )
        parts.append(
            f'<text x="{x(alarms) + 7:.1f}" y="{y(spoilt) - 5:.1f}" font-size="9" fill="{colour}">{label}</text>'
        )
    return parts


def _point(found: dict[str, Any], name: str) -> tuple[float, float]:
    same = found[SAME.name]
    return same["rolled_back"] / same["rollouts"], found[name]["spoilt_mean"]
