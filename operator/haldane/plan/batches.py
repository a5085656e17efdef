"""One query for many objects, and its answer taken apart again: every object gets what its own query would have given it.

Objects that are looked at over the same window stand in one selector; several windows stand side by side, each with a label
of its own. A selector may find series of objects that did not ask (it names namespaces, models and revisions, not which of
them belong together): those are dropped.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from urllib.parse import quote_plus

from haldane.plan.observed import Answer, Series, Unavailable
from haldane.plan.queries import Increase

LONGEST = 6000
"""Characters of a batch's text in a URL. Proxies in front of Prometheus take 8 KiB at least (nginx' own default)."""

_LEG = "leg"
_FRAME = ""
"""Stands for the text of a leg around its names."""
_Leg = tuple[str, str, int]


def pack(asked: Iterable[Increase], longest: int = LONGEST) -> list[list[Increase]]:
    """Spread queries for one instant over as few batches as `longest` allows; each has at least one. Stable in its order."""
    packed: list[list[Increase]] = []
    known: set[tuple[_Leg, str]] = set()
    size = longest
    for query in sorted(set(asked), key=lambda query: (_leg(query), query)):
        names = {(_leg(query), name) for name in (_FRAME, query.namespace, query.model, *query.revisions)}
        costs = _size(query, names - known)
        if size + costs > longest:
            packed.append([])
            known, size, costs = set(), 0, _size(query, names)
        packed[-1].append(query)
        known |= names
        size += costs
    return packed


def halves(batch: Sequence[Increase]) -> tuple[Sequence[Increase], Sequence[Increase]]:
    """A batch as two that read half as much each."""
    middle = len(batch) // 2
    return batch[:middle], batch[middle:]


def text(batch: Sequence[Increase]) -> str:
    """The PromQL of a batch; of a single query, that query."""
    if len(batch) == 1:
        return batch[0]
    legs: dict[_Leg, list[Increase]] = {}
    for query in batch:
        legs.setdefault(_leg(query), []).append(query)
    return _either([_labelled(leg, queries) for leg, queries in legs.items()])


def split(batch: Sequence[Increase], answer: Answer) -> dict[Increase, Answer]:
    """What each query of the batch would have been answered, out of the answer to `text(batch)`."""
    if isinstance(answer, Unavailable) or len(batch) == 1:
        return dict.fromkeys(batch, answer)
    by_owner: dict[tuple[str, ...], list[Increase]] = {}
    for query in batch:
        by_owner.setdefault((_name(_leg(query)), query.namespace, query.model), []).append(query)
    found: dict[Increase, list[Series]] = {query: [] for query in batch}
    for series in answer:
        labels = dict(series.labels)
        owner = tuple(labels.pop(name, "") for name in (_LEG, "model_namespace", "model"))
        for query in by_owner.get(owner, ()):
            if labels.get("revision") in query.revisions:
                found[query].append(Series(labels, series.value))
    return {query: tuple(series) for query, series in found.items()}


def _leg(query: Increase) -> _Leg:
    return query.metric, query.by, query.window


def _name(leg: _Leg) -> str:
    _, by, window = leg
    return f"{by}/{window}"


def _labelled(leg: _Leg, queries: Iterable[Increase]) -> str:
    metric, by, window = leg
    asked = list(queries)
    chosen = ",".join(
        f'{label}=~"{"|".join(dict.fromkeys(names))}"'
        for label, names in (
            ("model_namespace", [query.namespace for query in asked]),
            ("model", [_literal(query.model) for query in asked]),
            ("revision", [revision for query in asked for revision in query.revisions]),
        )
    )
    summed = f"sum by (model_namespace,model,revision,{by}) (increase({metric}{{{chosen}}}[{window}s]))"
    return f'label_replace({summed},"{_LEG}","{_name(leg)}","","")'


def _literal(name: str) -> str:
    """A name of the API as a regular expression inside quotes: of what a name may hold, only the dot means something."""
    return name.replace(".", r"\\.")


def _either(legs: Sequence[str]) -> str:
    """All of them by `or`, as a balanced tree: Prometheus compares what both sides of an `or` found."""
    if len(legs) == 1:
        return legs[0]
    middle = len(legs) // 2
    return f"({_either(legs[:middle])} or {_either(legs[middle:])})"


def _size(query: Increase, names: Iterable[tuple[_Leg, str]]) -> int:
    """Characters that the names add to a batch's text in a URL."""
    frame = f"( or {_labelled(_leg(query), [])})"
    return sum(len(quote_plus(f"|{_literal(name)}")) if name != _FRAME else len(quote_plus(frame)) for _, name in names)
