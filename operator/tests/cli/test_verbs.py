"""The verbs' commands: which kubectl they run, and what they say."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from haldane.cli.__main__ import main
from haldane.cli.verbs import VERBS, annotation, told

NOW = datetime(2026, 1, 2, 3, 4, 5, 678_000, tzinfo=UTC)
OBJECT = """{
  "metadata": {"namespace": "payments", "name": "fraud"},
  "status": {
    "stable": {"revision": "aaaaaaaaaa", "version": "1", "replicas": 2, "readyReplicas": 2},
    "candidate": {"revision": "bbbbbbbbbb", "version": "2", "replicas": 1, "readyReplicas": 1},
    "rollout": {
      "phase": "Progressing", "message": "weight 5%: holding for 10m",
      "checks": [{"name": "errors", "verdict": "Pass", "message": "0 of 500 requests failed"}]
    },
    "conditions": [{"type": "Ready", "status": "False", "reason": "Progressing", "message": "Weight 5%."}]
  }
}"""


@pytest.mark.parametrize("verb", VERBS)
def test_each_verb_is_one_annotation(verb: str) -> None:
    expected = {
        "pause": "haldane.dev/pause=INC-12",
        "resume": "haldane.dev/pause=false",
    }.get(verb, f"haldane.dev/{verb}=2026-01-02T03:04:05.678000Z")
    made = annotation(verb, "INC-12", "alice", NOW)
    assert made == ["annotate", "{name}", expected, "--overwrite", "--field-manager=haldane:alice"]


@pytest.mark.parametrize("given", [[], ["--reason", ""], ["--reason", "  "], ["--reason", "true"]])
def test_a_pause_without_a_reason_pauses(monkeypatch: pytest.MonkeyPatch, kubectl: Path, given: list[str]) -> None:
    assert run(monkeypatch, "pause", "fraud", *given) == 0
    assert "haldane.dev/pause=true" in kubectl.read_text().splitlines()


@pytest.mark.parametrize("reason", ["false", " False "])
def test_a_reason_that_would_resume_is_refused(
    monkeypatch: pytest.MonkeyPatch, kubectl: Path, capsys: pytest.CaptureFixture[str], reason: str
) -> None:
    assert run(monkeypatch, "pause", "fraud", "--reason", reason) == 2
    assert "false would resume: give a reason, or none" in capsys.readouterr().err
    assert not kubectl.exists()


@pytest.fixture
def kubectl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A kubectl that notes its arguments and answers `get` with an object."""
    program, noted = tmp_path / "kubectl", tmp_path / "arguments"
    (tmp_path / "object.json").write_text(OBJECT)
    program.write_text(
        f'#!/bin/sh\nprintf "%s\\n" "$@" >{noted}\ncase "$*" in *missing*) echo "not found" >&2; exit 1;; esac\n'
        f"cat {tmp_path}/object.json\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    return noted


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["haldane", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(str(ended.value.code))


def test_kubectl_is_asked(kubectl: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(monkeypatch, "pause", "fraud", "-n", "payments", "--reason", "INC 12") == 0
    arguments = kubectl.read_text().splitlines()
    assert arguments[:5] == [
        "--namespace=payments", "annotate", "modeldeployments.haldane.dev", "fraud", "haldane.dev/pause=INC 12"
    ]  # fmt: skip
    assert "pause: asked of fraud" in capsys.readouterr().out


def test_what_kubectl_objects_to_is_passed_on(
    kubectl: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "abort", "missing") == 1
    assert capsys.readouterr().err == "not found\n"


def test_without_kubectl_a_sentence_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert run(monkeypatch, "abort", "fraud") == 2
    assert "kubectl is not on the PATH" in capsys.readouterr().err


def test_status(kubectl: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(monkeypatch, "status", "fraud") == 0
    assert capsys.readouterr().out.splitlines() == [
        "payments/fraud: Progressing",
        "  stable    version 1 (revision aaaaaaaaaa), 2 of 2 pods ready",
        "  candidate version 2 (revision bbbbbbbbbb), 1 of 1 pods ready",
        "  rollout   weight 5%: holding for 10m",
        "  check     errors: Pass: 0 of 500 requests failed",
        "  Ready     False (Progressing): Weight 5%.",
    ]


def test_an_object_that_nobody_looked_at_yet() -> None:
    assert told({"metadata": {"namespace": "a", "name": "b"}}) == ["a/b: not looked at yet"]


def test_a_verb_does_not_wait_for_what_the_simulator_needs(kubectl: Path) -> None:
    program = (
        "import sys; sys.argv = ['haldane', 'abort', 'fraud']\n"
        "from haldane.cli.__main__ import main\n"
        "try:\n    main()\nfinally:\n    print(*sorted({'numpy', 'scipy', 'pydantic'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout.splitlines()[1:] == [""]
    assert "haldane.dev/abort" in kubectl.read_text()
