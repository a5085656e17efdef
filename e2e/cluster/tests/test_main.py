"""The command line: names, and errors as sentences."""

import sys

import pytest

from e2e.cluster import __main__ as command
from e2e.cluster import commands
from e2e.cluster.errors import ClusterError


def run(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr(sys, "argv", ["e2e.cluster", *words])
    return command.main()


@pytest.mark.parametrize("name", ["Haldane", "a/b", "-a", "a-", "x" * 41, ""])
def test_names_that_no_container_may_have(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        run(monkeypatch, "status", f"--name={name}")
    assert "lower-case letters, digits and dashes" in capsys.readouterr().err


def test_a_cluster_that_is_not_there(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(monkeypatch, "status", "--name=never-made") == 1
    assert run(monkeypatch, "addresses", "--name=never-made") == 1
    captured = capsys.readouterr()
    assert "There is no cluster never-made." in captured.out
    assert "Start it with: python -m e2e.cluster up --name never-made" in captured.err


def test_an_unknown_program(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(monkeypatch, "binaries", "kubelte") == 1
    assert "No such program: kubelte. There are: coredns," in capsys.readouterr().err


@pytest.mark.parametrize(("error", "status"), [(ClusterError("a sentence."), 1), (KeyboardInterrupt(), 130)])
def test_statuses(error: BaseException, status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(commands, "up", fail)
    assert run(monkeypatch, "up") == status
