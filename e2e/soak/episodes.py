"""What a user does to one ModelDeployment between two times of rest, and what must have come of it then. Pure."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final, Literal

Kind = Literal["good", "broken", "slow", "absent"]
"""A version that answers well; that fails on real rows; that takes a quarter of a second; whose model is not in the store."""

Strategy = Literal["Canary", "BlueGreen", "Recreate"]

EXAMPLES: Final[dict[Kind, tuple[str, ...]]] = {
    "good": ("v1", "v2"),
    "broken": ("v4-broken",),
    "slow": ("v3-slow",),
    "absent": ("v9",),
}
"""The examples' models that behave in this way."""


@dataclass(frozen=True)
class Version:
    """A version of the model: its name in status and in answers, and which of the examples it is."""

    name: str
    kind: Kind
    example: str


@dataclass(frozen=True)
class Ask:
    """Spec asks for a version; None: for the one that served when the episode began."""

    version: Version | None
    approval: bool = False

    def __str__(self) -> str:
        return f"asks for {self.version.name}" if self.version else "goes back to what served"


@dataclass(frozen=True)
class Choose:
    """Spec names another strategy, for the next rollout."""

    strategy: Strategy

    def __str__(self) -> str:
        return f"chooses {self.strategy}"


@dataclass(frozen=True)
class Scale:
    """Spec asks for so many pods."""

    pods: int

    def __str__(self) -> str:
        return f"scales to {self.pods}"


@dataclass(frozen=True)
class Say:
    """A verb's annotation gets a new value, or is taken away. Approve and retry wait until there is something to approve or to retry."""

    verb: Literal["approve", "pause", "resume", "abort", "promote", "retry"]

    def __str__(self) -> str:
        return f"says {self.verb}"


@dataclass(frozen=True)
class Delete:
    """A pod is deleted: of stable, when another one is ready; or of the candidate, any."""

    role: Literal["stable", "candidate"]

    def __str__(self) -> str:
        return f"deletes a pod of {self.role}"


@dataclass(frozen=True)
class Reapply:
    """A GitOps tool applies the same manifest again."""

    times: int

    def __str__(self) -> str:
        return f"applies the same {self.times} times"


Action = Ask | Choose | Scale | Say | Delete | Reapply


@dataclass(frozen=True)
class Deed:
    """An action, `at` so many seconds after the episode began."""

    at: float
    action: Action


@dataclass(frozen=True)
class Episode:
    """Deeds in the order of their times. Afterwards everybody waits until the model is at rest."""

    name: str
    deeds: tuple[Deed, ...]

    @property
    def asked(self) -> list[Version | None]:
        """The versions that spec asks for, in order."""
        return [deed.action.version for deed in self.deeds if isinstance(deed.action, Ask)]


@dataclass(frozen=True)
class Ending:
    """What may be at rest, by the versions' names: whoever was killed meanwhile, and whatever was away."""

    serves: frozenset[str]
    """One of them is stable."""
    rejects: frozenset[str]
    """All of them are rejected."""
    may_reject: frozenset[str]
    """Nothing else of the episode is."""

    def complaints(self, serving: str, rejected: Collection[str]) -> list[str]:
        """What is otherwise, as sentences; none is well."""
        wrong = []
        if serving not in self.serves:
            wrong.append(f"{serving} serves, not {' or '.join(sorted(self.serves))}")
        wrong += [f"{name} is not rejected" for name in sorted(self.rejects - set(rejected))]
        wrong += [f"{name} is rejected" for name in sorted(set(rejected) - self.rejects - self.may_reject)]
        return wrong


def ending(serving: Version, episode: Episode) -> Ending:
    """How an episode has to end that began with `serving` at rest. Nothing that fails on the way there is known here: it must not matter."""
    asked = [version or serving for version in episode.asked]
    last = asked[-1] if asked else serving
    good = frozenset(version.name for version in (serving, *asked) if version.kind == "good")
    bad = frozenset(version.name for version in asked if version.kind != "good")
    rejects = bad & {last.name}
    if Say("abort") in [deed.action for deed in episode.deeds]:
        # Whom it met is a question of the moment.
        return Ending(good, rejects, frozenset(version.name for version in asked))
    serves = frozenset({last.name}) if last.kind == "good" else good
    return Ending(serves, rejects, bad)
