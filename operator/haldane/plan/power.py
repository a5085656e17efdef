"""What the steps that passed would have seen, kept until the rollout is over: a pass by few requests says little."""

from __future__ import annotations

from haldane.api.status import RolloutStatus

LONGEST = 1000
"""Characters that are kept; those of the last steps, which saw the most."""


def proved(rollout: RolloutStatus) -> str | None:
    """`status.rollout.seen` when the step has passed by its checks as they stand; None when none could say."""
    told = ", ".join(f"{check.name} {check.detectable}" for check in rollout.checks if check.detectable)
    now = f"at {rollout.weight}%: {told}" if told else ""
    text = "; ".join(part for part in (rollout.seen, now) if part)
    while len(text) > LONGEST and "; at " in text:
        text = "…; at " + text.removeprefix("…; ").split("; at ", 1)[1]
    return text[:LONGEST] or None
