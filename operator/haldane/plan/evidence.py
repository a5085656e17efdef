"""What a look at a check must know of the looks before it: how evenly the hits came, and which planned looks were taken.

It stands in status as one line of text, because nothing may live in memory alone and nobody else is to read it. What is
tested are cumulative counts, which every look asks for anew: a line that is lost costs only caution. What steps that have
ended counted is added up in it when the weight changes, in the very status that changes it, so nothing is added twice.

The line ends with a mark of the check that was judged: one that is edited is another check, though it has the same name.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, fields, replace
from typing import Any
from zlib import crc32

from haldane.api.rollout import Check
from haldane.api.status import CheckStatus, RolloutStatus
from haldane.api.v1alpha1 import ModelDeployment

_SHORTER = (11, 15)
"""Words of a line by a version that kept nothing of earlier steps, and by one that kept one interval apart."""
_MARK = "#"


@dataclass(frozen=True)
class Evidence:
    """Sums over the intervals between looks. A hit is a request that counts against the limit."""

    looks: int = 0
    """Intervals that were counted."""
    planned: int = 0
    """Planned looks that were taken (see `looks`)."""
    requests: int = 0
    """Candidate requests up to the last look."""
    hits: int = 0
    """Those of them that are hits."""
    hits_together: int = 0
    """Hits of candidate and baseline together."""
    squares: float = 0.0
    """Sum of the candidate's hits squared, per request."""
    looks_together: int = 0
    """Intervals in which either had hits."""
    squares_together: float = 0.0
    """Sum over those of the candidate's hits squared, per hit of both."""
    worst_hits: int = 0
    """Hits of the interval that had the most of them, and its requests."""
    worst_requests: int = 0
    bound: float = 0.0
    """Duration in seconds beyond which a request is a hit; 0 where it is not a duration that decides."""
    kind: int = 0
    """Checksum of the user's own queries that tell what a hit is; 0 where the runtime counts."""
    earlier_looks: int = 0
    """`looks`, `requests`, `hits` and `squares` of the steps of this rollout that have ended, together."""
    earlier_requests: int = 0
    earlier_hits: int = 0
    earlier_squares: float = 0.0
    second_hits: int = 0
    """The same of the interval that had the second most; 0 where a version wrote the line that did not keep it."""
    second_requests: int = 0

    def for_the_next_step(self) -> Evidence:
        """What is left of it when the weight changes: everything that was counted is of steps that have ended."""
        return Evidence(
            bound=self.bound,
            kind=self.kind,
            earlier_looks=self.earlier_looks + self.looks,
            earlier_requests=self.earlier_requests + self.requests,
            earlier_hits=self.earlier_hits + self.hits,
            earlier_squares=self.earlier_squares + self.squares,
        )

    def to_text(self) -> str:
        """The line for status."""
        values = (getattr(self, field.name) for field in fields(self))
        return " ".join(str(value) if isinstance(value, int) else f"{value:.12g}" for value in values)

    @classmethod
    def from_text(cls, text: str | None) -> Evidence | None:
        """Read it back; None for none, and for what another version wrote."""
        words = [word for word in (text or "").split() if not word.startswith(_MARK)]
        if len(words) not in (*_SHORTER, len(fields(cls))):
            return None
        defaults: list[Any] = [field.default for field in fields(cls)]
        try:
            return cls(*(type(default)(word) for default, word in zip(defaults, words, strict=False)))
        except ValueError:
            return None


def marked(line: str | None, check: Check) -> str:
    """The line with the mark of the check that it is of."""
    words = [word for word in (line or "").split() if not word.startswith(_MARK)]
    definition = json.dumps(check.to_wire(), sort_keys=True)
    return " ".join([*words, f"{_MARK}{crc32(definition.encode()):x}"])


def is_of(judged: CheckStatus, check: Check) -> bool:
    """Whether a verdict is of the check as it is in spec now; so is one by a version that set no marks."""
    marks = _marks(judged)
    return judged.name == check.name and (not marks or marked("", check).split() == marks)


def carried(judged: CheckStatus | None, check: Check) -> tuple[CheckStatus | None, Evidence | None]:
    """The last verdict, if it is of the check as it is in spec now, and what was counted by then.

    What was counted for an edited check stays counted, but nothing was found out by it of this one.
    """
    known = Evidence.from_text(judged.evidence) if judged else None
    if judged is None or is_of(judged, check):
        return judged, known
    return None, replace(known, planned=0) if known else None


def unseen(md: ModelDeployment) -> list[str]:
    """The checks of spec that were not looked at since they were last edited."""
    judged = md.status.rollout.checks
    return [check.name for check in md.spec.rollout.checks if not any(is_of(each, check) for each in judged)]


def _marks(judged: CheckStatus) -> list[str]:
    return [word for word in (judged.evidence or "").split() if word.startswith(_MARK)]


def anew(rollout: RolloutStatus, weight: int) -> list[CheckStatus]:
    """The checks when a step's weight changes: without a verdict, which spoke of another weight, but with what they counted.

    Nothing is kept of a weight of 0, whose requests somebody chose to send.
    """
    if rollout.phase != "Progressing" or not rollout.weight:
        return []
    kept = []
    for check in rollout.checks:
        evidence = Evidence.from_text(check.evidence)
        if evidence:
            message = f"not looked at yet at weight {weight}%"
            line = " ".join([evidence.for_the_next_step().to_text(), *_marks(check)])
            kept.append(
                CheckStatus(name=check.name, verdict="Inconclusive", at=check.at, message=message, evidence=line)
            )
    return kept
