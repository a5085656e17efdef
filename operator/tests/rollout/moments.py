"""Which moments may stand in status in each phase: each has one meaning, and goes with what it speaks of."""

from __future__ import annotations

from haldane.api.status import Phase, RolloutStatus

ALWAYS = {"phase_started_at", "weight_changed_at", "checked_at"}
"""A look that comes late is told of where it arrives."""
ROLLOUT = ALWAYS | {"started_at"}
PODS = {"lost_at", "stable_lost_at", "asked_anew_at"}
ROUTE = {"route_awaited_at"}
MAY_STAND: dict[Phase, set[str]] = {
    "Initializing": ROLLOUT | ROUTE,
    "Stable": ALWAYS | ROUTE,
    "Preparing": ROLLOUT | PODS | {"share_left_at"},
    "Progressing": ROLLOUT | PODS | {"step_started_at"},
    "Promoting": ROLLOUT | PODS | ROUTE | {"share_left_at"},
    "Watching": ROLLOUT | ROUTE | {"lost_at"},
    "RollingBack": ROLLOUT | ROUTE | {"led_back_at", "back_at", "stable_lost_at"},
}
MOMENTS = {name for name, field in RolloutStatus.model_fields.items() if "datetime" in str(field.annotation)}


def examine_moments(old: RolloutStatus, new: RolloutStatus) -> None:
    """What one decision leaves of them."""
    shown = {name for name in MOMENTS if getattr(new, name)}
    assert shown <= MAY_STAND[new.phase], f"{new.phase} with {shown - MAY_STAND[new.phase]}"
    assert not (new.share_left_at and new.weight), "who has a share by right keeps none without"
    is_begun = new.phase_started_at != old.phase_started_at
    assert not (is_begun and new.last_chances and not new.lost_at), (
        "a wait that begins has all its last chances before it"
    )
    assert not is_begun or new.asked_anew_at in (None, new.phase_started_at), "a mark goes with the wait that it is of"
