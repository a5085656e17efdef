"""As much of Prometheus as the operator's own queries need: counters with restarts, `increase` with its extrapolation, and samples."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from haldane.plan.observed import Series

Labels = dict[str, str]

_SUM = re.compile(
    r"sum by \(([^)]*)\) \((increase\()?(\w+)\{([^}]*)\}(?:\[(\d+)s\])?(?: offset (\d+)s)?(?: @ ([\d.]+))?\)(?(2)\))"
)
_MATCHER = re.compile(r'(\w+)(=~?)"([^"]*)"')
_LABEL = re.compile(r',"(\w+)","([^"]*)","",""\)')


@dataclass
class Prometheus:
    """Samples by series: a name, its labels, and (second, value) in their order."""

    samples: list[tuple[str, Labels, list[tuple[float, float]]]] = field(default_factory=list)

    def ask(self, promql: str, at: float) -> tuple[Series, ...]:
        """The instant vector."""
        found, rest = self._expression(promql, at)
        assert not rest, rest
        return tuple(found)

    def _expression(self, text: str, at: float) -> tuple[list[Series], str]:
        if text.startswith("("):
            left, text = self._expression(text[1:], at)
            assert text.startswith(" or ")
            right, text = self._expression(text[4:], at)
            assert text.startswith(")")
            known = [series.labels for series in left]
            return left + [series for series in right if series.labels not in known], text[1:]
        if text.startswith("label_replace("):
            inner, text = self._expression(text.removeprefix("label_replace("), at)
            label = _LABEL.match(text)
            assert label, text
            name, value = label.groups()
            return [Series({**series.labels, name: value}, series.value) for series in inner], text[label.end() :]
        matched = _SUM.match(text)
        assert matched, text
        by, _, metric, chosen, window, offset, elsewhen = matched.groups()
        at = (float(elsewhen) if elsewhen else at) - int(offset or 0)
        return self._sum(re.split(r",\s*", by), metric, chosen, at, int(window) if window else None), text[
            matched.end() :
        ]

    def _sum(self, by: list[str], metric: str, chosen: str, at: float, window: int | None) -> list[Series]:
        sums: dict[tuple[tuple[str, str], ...], float] = {}
        for name, labels, samples in self.samples:
            if name != metric or not all(_matches(labels, *matcher) for matcher in _MATCHER.findall(chosen)):
                continue
            gained = increase(samples, at, window) if window else latest(samples, at)
            if gained is not None:
                group = tuple((label, labels[label]) for label in by if label in labels)
                sums[group] = sums.get(group, 0.0) + gained
        return [Series(dict(group), value) for group, value in sums.items()]


def _matches(labels: Labels, name: str, operator: str, value: str) -> bool:
    held = labels.get(name, "")
    # A backslash is written twice in a string of PromQL.
    return held == value if operator == "=" else bool(re.fullmatch(value.replace("\\\\", "\\"), held))


def latest(samples: list[tuple[float, float]], at: float) -> float | None:
    """The last sample of the five minutes before a time."""
    return next((value for second, value in reversed(samples) if at - 300 < second <= at), None)


def increase(samples: list[tuple[float, float]], at: float, window: int) -> float | None:
    """`increase(...[window])` at a time, extrapolated to the window's edges; None without two samples in it."""
    inside = [(second, value) for second, value in samples if at - window < second <= at]
    if len(inside) < 2:
        return None
    gained, before = inside[-1][1] - inside[0][1], inside[0][1]
    for _, value in inside[1:]:
        gained += before if value < before else 0.0
        before = value
    (first, began), (last, _) = inside[0], inside[-1]
    sampled = last - first
    usual = sampled / (len(inside) - 1)
    to_start, to_end = first - (at - window), at - last
    if gained > 0 and began >= 0:
        to_start = min(to_start, sampled * began / gained)
    to_start = to_start if to_start < 1.1 * usual else usual / 2
    to_end = to_end if to_end < 1.1 * usual else usual / 2
    return gained * (sampled + to_start + to_end) / sampled
