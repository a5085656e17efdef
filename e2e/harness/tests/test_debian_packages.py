"""Packages unpacked without root, and what is said when there are none to be had."""

import os
import stat
from pathlib import Path

import pytest

from e2e.harness.debian_packages import NotDebian, library_path, unpacked
from e2e.harness.errors import HarnessError


def program(folder: Path, name: str, script: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder before all others in PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return folder


def test_what_the_packages_hold_lies_in_the_folder_and_is_fetched_once(path: Path, tmp_path: Path) -> None:
    program(
        path, "apt-get", f'echo fetched >> {tmp_path}/calls; for name in "$@"; do last=$name; done; touch $last.deb'
    )
    program(path, "dpkg", 'mkdir -p "$3/usr/lib/here" && touch "$3/usr/lib/here/$(basename "$2" .deb).so"')
    for _ in range(2):
        folder = unpacked(tmp_path / "cache" / "b64", ["libb64"])
    assert [file.name for file in folder.rglob("*") if file.is_file()] == ["libb64.so"]
    assert library_path(folder) == str(folder / "usr/lib/here")
    assert (tmp_path / "calls").read_text().split() == ["fetched"]


def test_a_package_that_is_not_there_leaves_nothing_and_says_what_to_do(path: Path, tmp_path: Path) -> None:
    program(path, "apt-get", "echo 'E: Unable to locate package libb64' >&2; exit 100")
    program(path, "dpkg", "exit 0")
    with pytest.raises(HarnessError, match=r"run `apt-get update` once.*Unable to locate package libb64") as caught:
        unpacked(tmp_path / "cache" / "b64", ["libb64"])
    assert caught.type is HarnessError, "a fault here, and no other system"
    assert not [file for file in (tmp_path / "cache").iterdir() if file.is_dir()]


def test_elsewhere_than_on_debian_it_says_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(NotDebian, match="no Debian to take libb64 from"):
        unpacked(tmp_path / "cache" / "b64", ["libb64"])
