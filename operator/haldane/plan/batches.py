"""One query for many objects, and its answer taken apart again: every object gets what its own query would have given it.

Objects that are looked at over the same window and about the same instant stand in one selector; other windows and instants
stand beside it, each with a label of its own. A selector may find series of objects that did not ask (it names namespaces,
models and revisions, not which of them belong together): those are dropped.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import NamedTuple
from urllib.parse import quote_plus

from haldane.plan.observed import Answer, Series, Unavailable
from haldane.plan.queries import Counted

LONGEST = 6000
"""Characters of a batch's text in a URL. Proxies in front of Prometheus take 8 KiB at least (nginx' own default)."""

_LEG = "leg"
_FRAME = ""
"""Stands for the text of a leg around its names."""


class Question(NamedTuple):
    """A query, and the instant that it is about."""

    query: Counted
    at: datetime

    @property
    def owner(self) -> tuple[str, str]:
        """Namespace and name of the object that asks."""
        return self.query.namespace, self.query.model


class _Leg(NamedTuple):
    metric: str
    summed: str
    by: str
    window: int
    at: datetime

    @classmethod
    def of(cls, question: Question) -> _Leg:
        query = question.query
        return cls(query.metric, query.summed, query.by, query.window, question.at)


@dataclass(frozen=True)
class Batch:
    """Questions that are asked together."""

    questions: tuple[Question, ...]

    @property
    def at(self) -> datetime:
        """The instant to ask about; what is about another one says so itself."""
        return Counter(at for _, at in self.questions).most_common(1)[0][0]

    @property
    def promql(self) -> str:
        """Its text; of a single question, that query."""
        if len(self.questions) == 1:
            return self.questions[0].query
        legs = enumerate(self._legs.items())
        return _either([_labelled(name, leg, asked, leg.at != self.at) for name, (leg, asked) in legs])

    @property
    def _legs(self) -> dict[_Leg, list[Question]]:
        legs: dict[_Leg, list[Question]] = {}
        for question in self.questions:
            legs.setdefault(_Leg.of(question), []).append(question)
        return legs

    def halves(self) -> tuple[Batch, Batch]:
        """Two that read half as much each."""
        middle = len(self.questions) // 2
        return Batch(self.questions[:middle]), Batch(self.questions[middle:])

    def split(self, answer: Answer) -> dict[Question, Answer]:
        """What each question would have been answered alone."""
        if isinstance(answer, Unavailable) or len(self.questions) == 1:
            return dict.fromkeys(self.questions, answer)
        by_owner: dict[tuple[str, ...], list[Question]] = {}
        for name, asked in enumerate(self._legs.values()):
            for question in asked:
                by_owner.setdefault((str(name), *question.owner), []).append(question)
        found: dict[Question, list[Series]] = {question: [] for question in self.questions}
        for series in answer:
            labels = dict(series.labels)
            owner = tuple(labels.pop(name, "") for name in (_LEG, "model_namespace", "model"))
            for question in by_owner.get(owner, ()):
                if labels.get("revision") in question.query.revisions:
                    found[question].append(Series(labels, series.value))
        return {question: tuple(series) for question, series in found.items()}


def pack(questions: Iterable[Question], longest: int = LONGEST) -> list[Batch]:
    """Spread questions over as few batches as `longest` characters allow."""
    asked = sorted(set(questions), key=lambda question: (_Leg.of(question), question))
    packed: list[list[Question]] = []
    known: set[tuple[_Leg, str]] = set()
    size = longest
    for question in asked:
        leg, query = _Leg.of(question), question.query
        names = {(leg, name) for name in (_FRAME, query.namespace, query.model, *query.revisions)}
        costs = _size(names - known)
        if size + costs > longest:
            packed.append([])
            known, size, costs = set(), 0, _size(names)
        packed[-1].append(question)
        known |= names
        size += costs
    return [Batch(tuple(some)) for some in packed]


def _labelled(name: int, leg: _Leg, asked: Sequence[Question], is_elsewhen: bool) -> str:
    queries = [question.query for question in asked]
    chosen = ",".join(
        f'{label}=~"{"|".join(dict.fromkeys(names))}"'
        for label, names in (
            ("model_namespace", [query.namespace for query in queries]),
            ("model", [_literal(query.model) for query in queries]),
            ("revision", [revision for query in queries for revision in query.revisions]),
        )
    )
    elsewhen = f" @ {_seconds(leg.at)}" if is_elsewhen else ""
    grouped = f"model_namespace,model,revision{leg.by and f',{leg.by}'}"
    each = leg.summed.format(chosen=f"{leg.metric}{{{chosen}}}", window=leg.window, at=elsewhen)
    total = f"sum by ({grouped}) ({each})"
    return f'label_replace({total},"{_LEG}","{name}","","")'


def _literal(name: str) -> str:
    """A name of the API as a regular expression inside quotes: of what a name may hold, only the dot means something."""
    return name.replace(".", r"\\.")


def _seconds(at: datetime) -> str:
    """As Prometheus reads an instant: it counts milliseconds."""
    return f"{at.timestamp():.3f}"


def _either(legs: Sequence[str]) -> str:
    """All of them by `or`, as a balanced tree: Prometheus compares what both sides of an `or` found."""
    if len(legs) == 1:
        return legs[0]
    middle = len(legs) // 2
    return f"({_either(legs[:middle])} or {_either(legs[middle:])})"


def _size(names: Iterable[tuple[_Leg, str]]) -> int:
    """Characters that the names add to a batch's text in a URL, where `|` and a backslash take three."""
    return sum(
        _frame(leg.metric, leg.summed, leg.by) if name == _FRAME else 3 + len(name) + 6 * name.count(".")
        for leg, name in names
    )


@cache
def _frame(metric: str, summed: str, by: str) -> int:
    leg = _Leg(metric, summed, by, 10**6, datetime(2026, 1, 1, tzinfo=UTC))
    return len(quote_plus(f"( or {_labelled(99, leg, [], is_elsewhen=True)})"))
