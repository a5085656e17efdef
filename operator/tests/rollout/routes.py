"""Where requests go: a route with a weight over two Services, or the ready pods behind one of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass
class Route:
    """One state of it."""

    serving: str | None = None
    """The revision that stable's share goes to."""
    behind: str | None = None
    """The revision behind the candidate Service."""
    weight: int = 0
    selected: tuple[str, ...] = ()
    """The revisions behind the stable Service."""


def by_weight(route: Route) -> dict[str, float]:
    """The share of each revision: its Service's, whether it has pods or not."""
    shares: dict[str, float] = {}
    for name, weight in ((route.serving, 100 - route.weight), (route.behind, route.weight)):
        if name and weight:
            shares[name] = shares.get(name, 0.0) + weight / 100
    return shares


def by_pods(selected: Mapping[str, int]) -> dict[str, float]:
    """Requests go to ready pods alone, as long as there are any. `selected`: ready pods by revision."""
    pods = sum(selected.values())
    if not pods:
        return {name: 1.0 / len(selected) for name in selected}
    return {name: count / pods for name, count in selected.items() if count}
