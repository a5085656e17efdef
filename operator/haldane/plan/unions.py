"""All that a user's check asks in one query, and its answer taken apart again: each part gets what it would have got alone.

A check asks the same of the candidate, of stable and of nobody, and a proportion asks two things. Only the parts of one check
of one object stand together: what Prometheus refuses or is slow with is the user's own, and no neighbour's.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple
from urllib.parse import quote_plus

from haldane.plan.expressions import is_scalar, is_whole, names_its_end
from haldane.plan.observed import Answer, Series, Unavailable
from haldane.plan.queries import Written

_PART = "haldane_part"

Asker = tuple[str, str, int, str]
"""Namespace, name and generation of an object, and name of one of its checks."""


class Part(NamedTuple):
    """A query of a user, the instant that it is about, and the namespace that asks."""

    query: Written
    at: datetime
    owner: str

    @property
    def asker(self) -> Asker:
        """The check, as the spec is now."""
        return (self.owner, *self.query.check)


@dataclass(frozen=True)
class Union:
    """Parts of one check that are asked together; never none."""

    parts: tuple[Part, ...]

    @property
    def asker(self) -> Asker:
        """The check that they are of."""
        return self.parts[0].asker

    @property
    def at(self) -> datetime:
        """The instant to ask about, the latest; what is about an earlier one says so itself."""
        return max(part.at for part in self.parts)

    @property
    def promql(self) -> str:
        """Its text; of a single part, what the user wrote."""
        if len(self.parts) == 1:
            return self.parts[0].query
        return " or ".join(_labelled(number, part, self.at) for number, part in enumerate(self.parts))

    def split(self, answer: Answer) -> dict[Part, Answer]:
        """What each part would have been answered alone."""
        if isinstance(answer, Unavailable) or len(self.parts) == 1:
            return dict.fromkeys(self.parts, answer)
        found: dict[str, list[Series]] = {str(number): [] for number in range(len(self.parts))}
        for series in answer:
            labels = dict(series.labels)
            found.get(labels.pop(_PART, ""), []).append(Series(labels, series.value))
        return {part: tuple(found[str(number)]) for number, part in enumerate(self.parts)}


def unite(parts: Iterable[Part], longest: int) -> list[Union]:
    """One query for each check, or more where its text in a URL would be of more than `longest` characters."""
    checks: dict[Asker, list[Part]] = {}
    for part in parts:
        checks.setdefault(part.asker, []).append(part)
    return [union for asked in checks.values() for union in _unite(asked, longest)]


def _unite(parts: list[Part], longest: int) -> list[Union]:
    made: list[Union] = []
    now = Union(tuple(parts)).at
    joined: tuple[Part, ...] = ()
    for part in parts:
        if not is_whole(part.query) or (part.at != now and names_its_end(part.query)):
            made.append(Union((part,)))
        elif joined and len(quote_plus(Union((*joined, part)).promql)) > longest:
            made.append(Union(joined))
            joined = (part,)
        else:
            joined = (*joined, part)
    return [*made, Union(joined)] if joined else made


def _labelled(number: int, part: Part, now: datetime) -> str:
    # A comment at the end would hide what follows it.
    query = f"({part.query}\n)" if "#" in part.query else f"({part.query})"
    if is_scalar(part.query):
        query = f"vector{query}"
    if part.at != now:
        # Of any expression, not of a selector alone: its only sample in a range that holds nothing but that instant.
        query = f"last_over_time(({query})[1ms:1ms] @ {part.at.timestamp():.3f})"
    return f'label_replace({query},"{_PART}","{number}","","")'
