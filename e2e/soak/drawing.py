"""Draws what happens in a soak from its seed. Pure: the same seed gives the same episodes and faults, whatever the machine makes of them."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from typing import Final, Literal

from e2e.soak.episodes import EXAMPLES, Action, Ask, Choose, Deed, Delete, Episode, Kind, Reapply, Say, Scale, Version

KILLED_SHARE: Final = 0.85
"""Part of the time in which the operator is killed; in the rest it lives, so that its memory can be looked at."""
_OUTAGE_EVERY: Final = 240.0
_CUT_EVERY: Final = 150.0
_LONGEST: Final = 30.0
"""Seconds from an episode's first deed to its last one."""


@dataclass(frozen=True)
class Fault:
    """Something that breaks, so many seconds after the beginning and for so long (a kill: until the next process works)."""

    at: float
    kind: Literal["kill", "prometheus", "api"]
    seconds: float = 0.0


def faults(seed: int, seconds: float, kills: int) -> list[Fault]:
    """The faults of a run, by time: kills at random instants, evenly enough that all of them find their place."""
    chance = random.Random(f"{seed} faults")
    slot = seconds * KILLED_SHARE / max(1, kills)
    drawn = [Fault(chance.uniform(number, number + 1) * slot, "kill") for number in range(kills)]
    for number in range(int(seconds / _OUTAGE_EVERY)):
        drawn.append(Fault((number + chance.random()) * _OUTAGE_EVERY, "prometheus", chance.uniform(5, 25)))
    for number in range(int(seconds / _CUT_EVERY)):
        drawn.append(Fault((number + chance.random()) * _CUT_EVERY, "api", chance.uniform(2, 12)))
    return sorted(drawn, key=lambda fault: fault.at)


def episodes(seed: int, place: int) -> Iterator[Episode]:
    """What one place plays, without end. An episode depends on seed, place and its number alone."""
    for number in count():
        draw = _Draw(random.Random(f"{seed} {place} {number}"), f"{place}-{number}")
        kind = draw.chance.choices(list(_PLOTS), [weight for weight, _ in _PLOTS.values()])[0]
        deeds = _PLOTS[kind][1](draw)
        deeds += draw.besides()
        yield Episode(kind, tuple(sorted(deeds, key=lambda deed: deed.at)))


class _Draw:
    """Chance, and names that no other episode of the place uses."""

    def __init__(self, chance: random.Random, suffix: str) -> None:
        self.chance = chance
        self._suffix = suffix
        self._names = count(ord("a"))
        self.scales = True

    def version(self, kind: Kind) -> Version:
        name = f"{kind}-{self._suffix}{chr(next(self._names))}"
        return Version(name, kind, self.chance.choice(EXAMPLES[kind]))

    def bad(self) -> Version:
        return self.version(self.chance.choice(("broken", "broken", "slow", "absent")))

    def later(self, earliest: float = 0.5) -> float:
        """Any time while the first version of the episode is on its way; the early ones are more likely."""
        return self.chance.triangular(earliest, _LONGEST, earliest)

    def besides(self) -> list[Deed]:
        """What may happen to any rollout."""
        drawn = []
        if self.scales and self.chance.random() < 0.4:
            drawn.append(Deed(self.later(), Scale(self.chance.randint(1, 3))))
        if self.chance.random() < 0.3:
            drawn.append(Deed(self.later(), Delete("stable")))
        if self.chance.random() < 0.15:
            drawn.append(Deed(self.later(), Reapply(self.chance.randint(2, 5))))
        return drawn


def _promotion(draw: _Draw) -> list[Deed]:
    return [Deed(0, Ask(draw.version("good")))]


def _rejection(draw: _Draw) -> list[Deed]:
    return [Deed(0, Ask(draw.bad()))]


def _supersede(draw: _Draw) -> list[Deed]:
    return [Deed(0, Ask(draw.version("good"))), Deed(draw.later(), Ask(draw.version("good")))]


def _worse(draw: _Draw) -> list[Deed]:
    return [Deed(0, Ask(draw.version("good"))), Deed(draw.later(), Ask(draw.bad()))]


def _repair(draw: _Draw) -> list[Deed]:
    return [Deed(0, Ask(draw.bad())), Deed(draw.later(), Ask(draw.version("good")))]


def _back(draw: _Draw) -> list[Deed]:
    """A -> B -> A, and now and then B once more."""
    version = draw.version("good")
    there = draw.later()
    deeds = [Deed(0, Ask(version)), Deed(there, Ask(None))]
    if draw.chance.random() < 0.4:
        deeds.append(Deed(there + draw.chance.uniform(0.2, 10), Ask(version)))
    return deeds


def _paused(draw: _Draw) -> list[Deed]:
    begin = draw.later()
    kind: Kind = draw.chance.choice(("good", "good", "broken"))
    pause = [Deed(begin, Say("pause")), Deed(begin + draw.chance.uniform(2, 15), Say("resume"))]
    return [Deed(0, Ask(draw.version(kind))), *pause]


def _approval(draw: _Draw) -> list[Deed]:
    return [Deed(0, Ask(draw.version("good"), approval=True)), Deed(1, Say("approve"))]


def _abort(draw: _Draw) -> list[Deed]:
    return [Deed(0, Ask(draw.version("good"))), Deed(draw.later(), Say("abort"))]


def _promote_now(draw: _Draw) -> list[Deed]:
    return [Deed(0, Ask(draw.version("good"))), Deed(draw.later(), Say("promote"))]


def _retry(draw: _Draw) -> list[Deed]:
    return [Deed(0, Ask(draw.version("broken"))), Deed(1, Say("retry"))]


def _blue_green(draw: _Draw) -> list[Deed]:
    kind: Kind = draw.chance.choice(("good", "good", "absent"))
    return [Deed(0, Choose("BlueGreen")), Deed(0.1, Ask(draw.version(kind))), *_other_strategy(draw)]


def _recreate(draw: _Draw) -> list[Deed]:
    kind: Kind = draw.chance.choice(("good", "absent"))
    draw.scales = False  # nothing is warm, so that every edit of it costs requests that nobody promised
    return [Deed(0, Choose("Recreate")), Deed(0.1, Ask(draw.version(kind)))]


def _other_strategy(draw: _Draw) -> list[Deed]:
    return [Deed(draw.later(), Choose("Canary"))] if draw.chance.random() < 0.5 else []


def _lost_pods(draw: _Draw) -> list[Deed]:
    draw.scales = False  # what stable has to spare is known only as long as nobody scales
    deletes = [Deed(draw.later(5), Delete("candidate")) for _ in range(draw.chance.randint(1, 2))]
    first = [Deed(0, Scale(draw.chance.randint(2, 3))), Deed(0.1, Ask(draw.version("good")))]
    return [*first, *deletes, Deed(draw.later(), Delete("stable"))]


def _storm(draw: _Draw) -> list[Deed]:
    """Everything at once."""
    actions: list[Callable[[], Action]] = [
        lambda: Ask(draw.version("good")),
        lambda: Ask(draw.version("good")),
        lambda: Ask(draw.bad()),
        lambda: Ask(None),
        lambda: Say("abort"),
        lambda: Delete("stable"),
        lambda: Delete("candidate"),
        lambda: Reapply(2),
        lambda: Scale(draw.chance.randint(1, 3)),
    ]
    times = sorted(draw.chance.uniform(0.5, _LONGEST) for _ in range(draw.chance.randint(4, 9)))
    return [Deed(0, Ask(draw.version("good"))), *(Deed(at, draw.chance.choice(actions)()) for at in times)]


_PLOTS: Final[dict[str, tuple[float, Callable[[_Draw], list[Deed]]]]] = {
    "promotion": (3, _promotion),
    "rejection": (4, _rejection),
    "supersede": (2, _supersede),
    "good, then bad": (1, _worse),
    "bad, then good": (2, _repair),
    "there and back": (2, _back),
    "pause": (2, _paused),
    "approval": (1, _approval),
    "abort": (2, _abort),
    "promote now": (1, _promote_now),
    "retry": (1, _retry),
    "blue-green": (2, _blue_green),
    "recreate": (1, _recreate),
    "lost pods": (2, _lost_pods),
    "storm": (4, _storm),
}
"""Every plot with how often it comes beside the others."""
