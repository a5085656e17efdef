import io
from typing import Any

import pytest
from rich.console import Console

from e2e.demo.chapters import CHAPTERS, Outcome, Result
from e2e.demo.lines import Changes
from e2e.demo.scene import Scene
from e2e.demo.screen import Screen
from e2e.demo.view import picture
from e2e.harness.tally import Tally

CHECKS = [
    {"name": "errors", "verdict": "Pass", "value": "0.0%", "limit": "1%", "requests": 41, "message": "no errors"},
    {"name": "p90", "verdict": "Fail", "value": "183ms", "limit": "100ms", "requests": 41, "message": "too slow"},
]


@pytest.fixture
def scene(deployment: Any) -> Scene:
    tally = Tally()
    for at in range(40):
        tally.answered("v2", right=at % 20 != 0, seconds=0.004, at=at / 4)
    tally.answered("v3-slow", right=True, seconds=0.19, at=9.9)
    tally.failed(None, "502: Bad Gateway", seconds=0.01, at=9.9)
    rollout = {
        "phase": "Progressing",
        "step": 0,
        "weight": 5,
        "observedWeight": "4.8",
        "checks": CHECKS,
        "message": "holding",
    }
    return Scene(
        CHAPTERS,
        tally,
        deployment=deployment(stable="v2", candidate="v3-slow", rollout=rollout),
        playing=CHAPTERS[2],
        now=10,
        elapsed=150,
        chapter_elapsed=12,
        results=[
            Result(CHAPTERS[0], Outcome("served", "v1", ""), None, frozenset(), 14.0),
            Result(CHAPTERS[1], Outcome("rolled back", "v1", "why"), "v1", frozenset(), 90.0),
        ],
        notes=["kubectl apply -f examples/v3-slow.yaml"],
    )


def shown(scene: Scene, width: int = 120) -> str:
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(picture(scene))
    return console.export_text()


def test_the_picture_shows_rollout_checks_and_client(scene: Scene) -> None:
    text = shown(scene)
    for part in ("✓ v1", "✗ v2", "▶ v3-slow", "· v4-broken", "Progressing", "4.8 %", "holding"):
        assert part in text
    (slow,) = (line for line in text.splitlines() if "p90" in line and "183ms" in line)
    assert all(part in slow for part in ("Fail", "100ms", "41", "too slow"))
    (stable,) = (line for line in text.splitlines() if "v2 " in line and "95.0 %" in line)
    assert "4 ms" in stable
    assert "nobody" in text


@pytest.mark.parametrize("width", [60, 80, 200])
def test_the_picture_fits_any_terminal(scene: Scene, width: int) -> None:
    assert max(len(line) for line in shown(scene, width).splitlines()) <= width


def test_the_picture_can_be_drawn_before_anything_happened() -> None:
    assert "none evaluated yet" in shown(Scene(CHAPTERS, Tally()))


def test_lines_come_once_and_counters_now_and_then(scene: Scene, deployment: Any) -> None:
    changes = Changes(every=10)
    first = changes.lines(scene)
    assert first[0] == "kubectl apply -f examples/v3-slow.yaml"
    assert "v3-slow: Progressing, weight 5 %, observed 4.8 %" in first
    assert any("check p90: Fail, 183ms against 100ms, 41 requests. too slow" in line for line in first)
    assert any("v2 40 requests, 0 failed, accuracy 95.0 %" in line for line in first)
    assert changes.lines(scene) == []
    scene.elapsed += 11
    (counters,) = changes.lines(scene)
    assert counters.startswith("  client: ")
    scene.deployment = deployment(stable="v2", rollout={"phase": "RollingBack", "weight": 0})
    assert changes.lines(scene) == ["v3-slow: RollingBack, weight 0 %"]


def test_without_a_terminal_there_are_plain_lines(scene: Scene) -> None:
    console = Console(width=40, record=True, file=io.StringIO(), force_terminal=False)
    with Screen(console, scene) as screen:
        screen.show()
        screen.show()
    text = console.export_text()
    assert text.count("kubectl apply") == 1
    assert "[ 150.0 s] v3-slow: Progressing, weight 5 %" in text
    assert "\x1b" not in text


def test_a_terminal_gets_the_picture(scene: Scene) -> None:
    console = Console(width=120, height=50, record=True, file=io.StringIO(), force_terminal=True)
    with Screen(console, scene) as screen:
        screen.show()
    assert "Client at the ingress" in console.export_text()
