"""`haldane simulate` as a user runs it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from haldane.cli.__main__ import main

MODEL = """
apiVersion: v1
kind: Secret
metadata: {name: s3}
---
apiVersion: haldane.dev/v1alpha1
kind: ModelDeployment
metadata: {name: fraud}
spec:
  model: {uri: s3://models/fraud/2/}
  traffic: {host: fraud.example.com, ingress: {className: nginx}}
  rollout:
    steps: [{weight: 10, hold: 4m}, {weight: 50, hold: 4m}]
"""


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["haldane", *arguments])
    monkeypatch.setenv("COLUMNS", "160")
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


def test_a_spec_is_played_and_its_steps_timeline_and_odds_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "model.yaml"
    file.write_text(MODEL)
    assert run(monkeypatch, "simulate", "-f", str(file), "--scenario", "broken", "--rollouts", "3") == 0
    told = capsys.readouterr().out
    assert "error rate that would be seen" in told
    assert "RollingBack" in told
    assert "check errors failed" in told
    assert "as good as stable" in told
    assert "half of its answers are errors" in told


def test_a_spec_that_cannot_decide_is_told_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "model.yaml"
    file.write_text(MODEL)
    arguments = ("--rate", "0.1", "--rollouts", "1", "--scenario", "good")
    assert run(monkeypatch, "simulate", "-f", str(file), *arguments) == 1
    assert "will not come before its deadline" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "arguments", "words"),
    [
        ("kind: Secret", (), "holds no ModelDeployment"),
        ("a: [", (), "is no YAML"),
        (MODEL.replace("4m", "4min"), (), "write a duration with a unit"),
        (MODEL, ("--rate", "0"), "--rate: write requests a second"),
        (MODEL, ("--p99", "soon"), "write a duration"),
        (MODEL, ("--errors", "1"), "write a percentage"),
        (MODEL, ("--rollouts", "0"), "--rollouts: write a number"),
    ],
)
def test_what_cannot_be_used_is_told(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    text: str,
    arguments: tuple[str, ...],
    words: str,
) -> None:
    file = tmp_path / "model.yaml"
    file.write_text(text)
    assert run(monkeypatch, "simulate", "-f", str(file), *arguments) == 2
    assert words in capsys.readouterr().err


def test_a_missing_file_is_told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(monkeypatch, "simulate", "-f", "/nowhere/model.yaml") == 2
    assert "/nowhere/model.yaml" in capsys.readouterr().err
