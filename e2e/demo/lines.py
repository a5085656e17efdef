"""A scene as lines of a log, for where there is no terminal: a line when something changed, and the counters now and then."""

from __future__ import annotations

from e2e.demo.scene import Scene
from e2e.demo.view import milliseconds, percent
from haldane.api.status import CheckStatus, RolloutStatus


class Changes:
    """Remembers what was said last, so that nothing is said twice."""

    def __init__(self, every: float = 10.0) -> None:
        self._every = every
        self._said: dict[str, str] = {}
        self._counted_at = 0.0
        self._noted = 0

    def lines(self, scene: Scene) -> list[str]:
        """What is new in `scene`; the client's counters come every `every` seconds."""
        rollout = scene.deployment.status.rollout if scene.deployment else RolloutStatus()
        new = scene.notes[self._noted :]
        self._noted = len(scene.notes)
        if self._changed("phase", f"{rollout.phase} {rollout.step} {rollout.weight}"):
            new.append(_phase(scene, rollout))
        if self._changed("message", rollout.message) and rollout.message:
            new.append(f"  {rollout.message}")
        # At rest status still shows the last verdicts, which were said when they came.
        for check in rollout.checks if rollout.phase != "Stable" else []:
            if self._changed(f"check {check.name}", f"{check.verdict} {rollout.step}"):
                new.append(_check(check))
        if scene.elapsed - self._counted_at >= self._every and scene.tally.requests:
            self._counted_at = scene.elapsed
            new.append(f"  client: {_counters(scene)}")
        return new

    def _changed(self, what: str, value: str) -> bool:
        changed = self._said.get(what) != value
        self._said[what] = value
        return changed


def _phase(scene: Scene, rollout: RolloutStatus) -> str:
    observed = "" if rollout.observed_weight is None else f", observed {rollout.observed_weight} %"
    version = scene.playing.version if scene.playing else "-"
    return f"{version}: {rollout.phase}, weight {rollout.weight} %{observed}"


def _check(check: CheckStatus) -> str:
    limit = f" against {check.limit}" if check.limit else ""
    return f"  check {check.name}: {check.verdict}, {check.value or 'no value'}{limit}, {check.requests or 0} requests. {check.message}"


def _counters(scene: Scene) -> str:
    return "; ".join(
        f"{version} {count.requests} requests, {count.failed} failed, accuracy {percent(count.accuracy)}, p99 {milliseconds(count.latency(0.99))}"
        for version, count in scene.tally.versions.items()
    )
