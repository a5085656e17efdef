"""What the bench needs to know of a controller, whichever it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from bench.rivals.app import Manifest, Version
from bench.rivals.cases import Case
from bench.rivals.observed import State


@dataclass(frozen=True)
class Kind:
    """Where a kind of object is found in the API."""

    group: str
    version: str
    plural: str


@dataclass(frozen=True)
class Home:
    """Where the controller itself runs: its one pod."""

    namespace: str
    selector: str


class Controller(Protocol):
    """One controller. All methods are pure; objects are as the API server gives them."""

    name: str
    title: str
    home: Home
    changed: Kind
    """The kind whose object `app` gets the new version, by a merge patch with `change`."""
    watched: Kind
    """The kind whose object `app` tells how the rollout goes."""

    def objects(self, namespace: str, case: Case) -> Sequence[Manifest]:
        """All that a user writes, with the case's old version."""

    def change(self, namespace: str, case: Case, version: Version) -> Manifest:
        """What changes when the user asks for another version."""

    def serves(self, body: Manifest) -> bool:
        """Whether the first version is there, and nothing under way."""

    def state(self, body: Manifest, before: Manifest) -> State:
        """How the rollout goes, given the object as it is and as it was before the change."""
