from pathlib import Path
from typing import Any

import pytest

from e2e.demo import story
from e2e.demo.chapters import CHAPTERS, Chapter
from e2e.demo.scene import Scene
from e2e.harness.errors import HarnessError
from e2e.harness.tally import Tally
from haldane.api.v1alpha1 import ModelDeployment


class Scripted:
    """A cluster that shows one state after another, and stays at the last."""

    def __init__(self, *states: ModelDeployment | HarnessError | None) -> None:
        self.states = list(states)
        self.applied: list[Path] = []

    async def apply(self, manifest: Path) -> int:
        self.applied.append(manifest)
        return 1

    async def read(self, _: str) -> ModelDeployment | None:
        state = self.states.pop(0) if len(self.states) > 1 else self.states[0]
        if isinstance(state, HarnessError):
            raise state
        return state


@pytest.fixture(autouse=True)
def _without_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(story, "_EVERY", 0.001)


async def test_a_rollback_is_followed_to_its_end(deployment: Any) -> None:
    check = {"name": "p90", "verdict": "Fail", "message": "too slow"}
    progressing = {"phase": "Progressing", "step": 0, "weight": 5, "checks": [check]}
    rejected = [{"revision": "r", "version": "v3-slow", "reason": "CheckFailed", "message": "too slow"}]
    cluster = Scripted(
        HarnessError("no answer"),
        deployment(stable="v2", candidate="v3-slow", rollout=progressing),
        deployment(stable="v2", rejected=rejected, ready=False),
    )
    scene = Scene(CHAPTERS, Tally(), deployment=deployment(stable="v2"))
    shown: list[str] = []
    played = await story.play(
        CHAPTERS[2], "digits", cluster, Path("examples"), scene, lambda: shown.append(str(scene.playing))
    )
    assert played.complaint is None
    assert played.failed_checks == {"p90"}
    assert cluster.applied == [Path("examples/v3-slow.yaml")]
    assert scene.results == [played]
    assert scene.notes == ["kubectl apply -f examples/v3-slow.yaml", "v3-slow: rolled back. too slow"]
    assert len(shown) >= 3


async def test_a_deadline_ends_a_chapter(deployment: Any) -> None:
    cluster = Scripted(None, deployment(rollout={"phase": "Initializing"}))
    scene = Scene(CHAPTERS, Tally())
    chapter = Chapter("v1", "served", "served", deadline=0.05)
    played = await story.play(chapter, "digits", cluster, Path("examples"), scene, lambda: None)
    assert played.outcome is None
    assert "was not served within" in (played.complaint or "")


async def test_an_api_server_that_never_answers_ends_the_story() -> None:
    scene = Scene(CHAPTERS, Tally())
    with pytest.raises(HarnessError, match="gave no answer"):
        await story.play(
            CHAPTERS[0], "digits", Scripted(HarnessError("gave no answer")), Path("examples"), scene, lambda: None
        )
