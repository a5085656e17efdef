"""The picture of a scene on a terminal: pure, so that it can be looked at in a test."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from e2e.demo.scene import Scene
from e2e.harness.tally import NOBODY
from haldane.api.status import CheckStatus, RolloutStatus

_NOTES = 6
_BAR = 50
_VERDICT_STYLE = {"Pass": "green", "Fail": "bold red", "Inconclusive": "yellow"}


def picture(scene: Scene) -> RenderableType:
    """Chapters, rollout, checks, the client's counters, and the last notes."""
    rollout = scene.deployment.status.rollout if scene.deployment else RolloutStatus()
    return Group(
        Panel(_chapters(scene), title=f"Haldane demo, {scene.elapsed:.0f} s", title_align="left"),
        Panel(_rollout(scene, rollout), title="Rollout", title_align="left"),
        Panel(_checks(rollout.checks), title="Checks", title_align="left"),
        Panel(_client(scene), title="Client at the ingress", title_align="left"),
        Text("\n".join(scene.notes[-_NOTES:]), style="dim"),
    )


def percent(share: float | None, digits: int = 1) -> str:
    """A share, 0 to 1, for people."""
    return "-" if share is None else f"{100 * share:.{digits}f} %"


def milliseconds(seconds: float | None) -> str:
    """A duration for people."""
    return "-" if seconds is None else f"{1000 * seconds:.0f} ms"


def _chapters(scene: Scene) -> Text:
    lines = []
    done = {result.chapter.version: result for result in scene.results}
    for chapter in scene.chapters:
        result = done.get(chapter.version)
        if result is not None:
            mark, style = ("✓", "green") if result.complaint is None else ("✗", "bold red")
            when = f"{result.seconds:.0f} s"
        elif chapter == scene.playing:
            mark, style, when = "▶", "bold", f"{scene.chapter_elapsed:.0f} s"
        else:
            mark, style, when = "·", "dim", ""
        lines.append(Text(f"{mark} {chapter.version:10} {chapter.title:45} {when:>6}", style=style))
    return Text("\n").join(lines)


def _rollout(scene: Scene, rollout: RolloutStatus) -> RenderableType:
    status = scene.deployment.status if scene.deployment else None
    stable = status.stable.version if status and status.stable else "-"
    candidate = status.candidate.version if status and status.candidate else "-"
    observed = "-" if rollout.observed_weight is None else f"{rollout.observed_weight} %"
    by_client = scene.tally.share(candidate, now=scene.now) if candidate != "-" else None
    facts = Table.grid(padding=(0, 3))
    facts.add_row("phase", Text(rollout.phase, style="bold"), "stable", stable, "candidate", candidate)
    facts.add_row("weight", f"{rollout.weight} %", "observed", observed, "seen by client", percent(by_client))
    return Group(facts, _bar(rollout.weight), Text(rollout.message, style="italic"))


def _bar(weight: int) -> Text:
    filled = round(weight / 100 * _BAR)
    return Text.assemble(("█" * filled, "green"), ("░" * (_BAR - filled), "dim"))


def _checks(checks: list[CheckStatus]) -> RenderableType:
    table = Table(box=None, padding=(0, 2, 0, 0))
    for column in ("check", "verdict", "value", "baseline", "limit", "requests", ""):
        table.add_column(column)
    for check in checks:
        table.add_row(
            check.name,
            Text(check.verdict, style=_VERDICT_STYLE[check.verdict]),
            check.value or "-",
            check.baseline or "-",
            check.limit or "-",
            "-" if check.requests is None else str(check.requests),
            Text(check.message, style="dim", overflow="ellipsis", no_wrap=True),
        )
    return table if checks else Text("none evaluated yet", style="dim")


def _client(scene: Scene) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0))
    for column in ("answered by", "requests", "last 10 s", "accuracy", "failed", "p50", "p99"):
        table.add_column(column, justify="left" if column == "answered by" else "right")
    for version, count in scene.tally.versions.items():
        table.add_row(
            version if version != NOBODY else Text(NOBODY, style="bold red"),
            str(count.requests),
            percent(scene.tally.share(version, now=scene.now), 0),
            percent(count.accuracy),
            Text(str(count.failed), style="red" if count.failed else ""),
            milliseconds(count.latency(0.5)),
            milliseconds(count.latency(0.99)),
        )
    return table
