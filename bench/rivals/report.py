"""The table: each controller's figures beside what Haldane must do, and whether it does."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from bench.rivals.cases import APPLY_TO_POD, CASES, REST_MIB, REST_MILLICORES, Case
from bench.rivals.observed import Figures
from bench.rivals.results import Results

TITLES: Final = {"haldane": "Haldane", "flagger": "Flagger 1.36.1", "argo": "Argo Rollouts 1.10.1"}
BEGIN: Final = "<!-- rivals: begin, written by python -m bench.rivals --publish -->"
END: Final = "<!-- rivals: end -->"
_REASON: Final = 140

_NUMBERS: Final[Mapping[str, tuple[str, Callable[[Figures], float | None]]]] = {
    "seconds": ("{} s", lambda f: f.seconds),
    "span": ("span {} s", lambda f: f.span),
    "failed": ("{} failed", lambda f: f.candidate_failed + f.lost),
    "candidate_failed": ("{} failed", lambda f: f.candidate_failed),
    "candidate_slow": ("{} slow", lambda f: f.candidate_slow),
    "candidate_requests": ("of {}", lambda f: f.candidate_requests),
    "pods": ("{} pods", lambda f: f.pods),
    "span_after_change": ("last request {} s after it", lambda f: f.span_after_change),
    "pods_after_change": ("{} pods made after it", lambda f: f.pods_after_change),
}


def table(results: Results) -> str:
    """Markdown: a row a case, with a column for each controller that was measured."""
    names = [name for name in TITLES if name in results.tries or name in results.rest]
    lines = [
        _line("case", *(TITLES[name] for name in names), "Haldane must", ""),
        _line("---", *("---" for _ in names), "---", "---"),
    ]
    for case in CASES:
        cells = [_cell(case, results.get(name, case.key)) for name in names]
        if any(cells):
            lines.append(_line(f"{case.key} {case.title}", *cells, case.must.text, verdict(case, results)))
    return "\n".join([*lines, *_ends(results, names)]) + "\n"


def published(page: str, results: Results) -> str:
    """A page with the table and the reasons between its two marks. Raises ValueError when it has none."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the page lacks the marks {BEGIN!r} and {END!r}")
    said = reasons(results)
    words = f"\nWhat the controllers gave for a reason:\n\n{said}" if said else ""
    return f"{before}{begin}\n\n{table(results)}{words}\n{conditions(results)}\n{end}{after}"


def conditions(results: Results) -> str:
    """When the cases were measured, how fast the client was and what else the machine did."""
    by_note: dict[str, list[str]] = {}
    for key, note in results.notes.items():
        by_note.setdefault(note, []).append(key)
    days = sorted({note.partition(",")[0] for note in by_note})
    sent = [f.rate for cases in results.tries.values() for tries in cases.values() for f in tries if f.rate]
    rate = f"{min(sent):.0f} to {max(sent):.0f} requests/s really sent to each app" if sent else "no requests"
    loads = [float(note.rpartition(" ")[2]) for note in by_note]
    if not loads:
        return ""
    return f"Measured on {', '.join(days)} with {rate}; load of the machine {min(loads):.0f} to {max(loads):.0f} at the ends of the tries.\n"


def verdict(case: Case, results: Results) -> str:
    """`met`, or how many of Haldane's tries miss what they must; empty when there are none."""
    tries = results.get("haldane", case.key)
    missed = sum(not case.must.holds(figures) for figures in tries)
    if not tries:
        return ""
    return f"missed in {missed} of {len(tries)}" if missed else "met"


def missed(results: Results) -> list[str]:
    """The titles of the cases that Haldane misses."""
    return [case.title for case in CASES if "missed" in verdict(case, results)]


def reasons(results: Results) -> str:
    """What each controller gave for a reason, as a list: the last try of each case that was rolled back, held or set back."""
    lines = []
    for case in CASES:
        for name in TITLES:
            tries = results.get(name, case.key)
            if tries and tries[-1].outcome != "promoted" and tries[-1].reason:
                lines.append(f"- {case.key}, {TITLES[name]}: {_short(tries[-1].reason)}")
    return "\n".join(lines) + "\n" if lines else ""


def _cell(case: Case, tries: Sequence[Figures]) -> str:
    if not tries:
        return ""
    parts = []
    for name in case.shows:
        if name == "outcome":
            counts = Counter(figures.outcome for figures in tries)
            parts.append(
                ", ".join(
                    outcome if n == len(tries) else f"{outcome} {n} of {len(tries)}" for outcome, n in counts.items()
                )
            )
        elif name == "reason":
            parts.append(f"“{_short(tries[-1].reason)}”" if tries[-1].reason else "no reason")
        else:
            form, number = _NUMBERS[name]
            found = [value for figures in tries if (value := number(figures)) is not None]
            if found:
                parts.append(form.format(_range(found)))
    return "; ".join(parts)


def _ends(results: Results, names: Sequence[str]) -> list[str]:
    lines = []
    pods = {name: results.first_pods(name) for name in names}
    if any(pods.values()):
        cells = [
            f"{statistics.median(found):.2f} s, {found[0]:.2f} to {found[-1]:.2f}, n {len(found)}" if found else ""
            for found in pods.values()
        ]
        own = pods.get("haldane")
        met = "" if not own else "met" if statistics.median(own) <= APPLY_TO_POD else "missed"
        lines.append(_line("apply to first pod object: median, range", *cells, f"at most {APPLY_TO_POD:g} s", met))
    if results.rest:
        cells = [f"{r.mib:.0f} MiB, {r.millicores:.1f} mCPU" if (r := results.rest.get(name)) else "" for name in names]
        rest = results.rest.get("haldane")
        held = rest is not None and rest.mib <= REST_MIB and rest.millicores <= REST_MILLICORES
        must = f"at most {REST_MIB} MiB, {REST_MILLICORES} mCPU"
        lines.append(_line("controller at rest", *cells, must, ("met" if held else "missed") if rest else ""))
    return lines


def _range(found: Sequence[float]) -> str:
    low, high = min(found), max(found)
    return _number(low) if _number(low) == _number(high) else f"{_number(low)}-{_number(high)}"


def _number(value: float) -> str:
    return f"{value:.1f}" if isinstance(value, float) and value < 10 else f"{value:.0f}"


def _short(text: str) -> str:
    line = " ".join(text.replace("|", "/").split())
    return line if len(line) <= _REASON else line[: _REASON - 1] + "…"


def _line(*cells: str) -> str:
    return "| " + " | ".join(cells) + " |"
