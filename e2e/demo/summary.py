"""What happened, and whether it is what had to happen."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from rich.table import Table
from rich.text import Text

from e2e.demo.chapters import Chapter, Result
from e2e.demo.view import milliseconds, percent
from e2e.harness.tally import NOBODY, Tally, VersionCount


def complaints(chapters: Sequence[Chapter], results: Sequence[Result], tally: Tally) -> list[str]:
    """All that did not happen as it must, as sentences; empty when the demo is a success."""
    played = {result.chapter.version for result in results}
    said = [f"{chapter.version} was not tried" for chapter in chapters if chapter.version not in played]
    said += [result.complaint for result in results if result.complaint is not None]
    counts = {chapter.version: tally.versions.get(chapter.version, VersionCount()) for chapter in chapters}
    said += [f"no real request reached {version}" for version, count in counts.items() if not count.requests]
    said += _accuracy(results, counts)
    said += [
        f"{chapter.version} was rolled back on errors, but the client saw none"
        for chapter in chapters
        if chapter.check == "errors" and counts[chapter.version].requests and not counts[chapter.version].failed
    ]
    if lost := tally.lost(_own(chapters)):
        said.append(f"{lost} requests failed that stable would have answered")
    return said


def table(chapters: Sequence[Chapter], results: Sequence[Result], tally: Tally) -> Table:
    """One row a version, in the order of the story; a row for failures that no model answered, if there were any."""
    shown = Table(title="What happened", title_justify="left")
    for column in ("version", "outcome", "time", "requests", "accuracy seen", "p99 seen", "own failures", "lost"):
        shown.add_column(column, justify="left" if column in {"version", "outcome"} else "right")
    done = {result.chapter.version: result for result in results}
    own = _own(chapters)
    strangers = [version for version in tally.versions if version not in done]
    for version in [
        *(chapter.version for chapter in chapters),
        *(v for v in strangers if v not in {c.version for c in chapters}),
    ]:
        count, result = tally.versions.get(version, VersionCount()), done.get(version)
        lost = 0 if version in own else count.failed
        shown.add_row(
            version,
            _outcome(result, version),
            f"{result.seconds:.0f} s" if result else "-",
            str(count.requests),
            percent(count.accuracy),
            milliseconds(count.latency(0.99)),
            str(count.failed - lost),
            Text(str(lost), style="bold red" if lost else "green"),
        )
    shown.caption = (
        f"{tally.requests} requests. Lost: failed requests that stable would have answered, {tally.lost(own)} in all."
    )
    shown.caption_justify = "left"
    return shown


def examples_of_failures(tally: Tally) -> list[str]:
    """The first failures of each version as sentences."""
    return [f"{version}: {why}" for version, count in tally.versions.items() for why in count.failures[:3]]


def _own(chapters: Sequence[Chapter]) -> frozenset[str]:
    """Versions that may fail by themselves: those which are there to be rolled back."""
    return frozenset(chapter.version for chapter in chapters if chapter.expected == "rolled back")


def _accuracy(results: Sequence[Result], counts: dict[str, VersionCount]) -> list[str]:
    served = [result.chapter.version for result in results if result.chapter.expected in ("served", "promoted")]
    seen = [(version, counts[version].accuracy) for version in served]
    return [
        f"{later} was promoted, but the client saw it no more accurate than {earlier}"
        for (earlier, before), (later, after) in pairwise(seen)
        if before is not None and after is not None and after <= before
    ]


def _outcome(result: Result | None, version: str) -> Text:
    if version == NOBODY:
        return Text("no model answered", style="red")
    if result is None or result.outcome is None:
        return Text("no outcome", style="bold red")
    why = f" by {', '.join(sorted(result.failed_checks))}" if result.outcome.ending == "rolled back" else ""
    return Text(result.outcome.ending + why, style="bold red" if result.complaint else "green")
