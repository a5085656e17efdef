"""The machine: privileges, packages, and the sentence for what is missing."""

import pytest

from e2e.cluster import host, toolchain


@pytest.mark.parametrize(
    ("bounding", "withheld"), [("000001ffffffffff", False), ("000001fffeffffff", True), ("0000000000000000", True)]
)
def test_withheld_privileges(bounding: str, withheld: bool) -> None:
    assert host.withholds_privileges(f"Name:\tx\nCapBnd:\t{bounding}\nCapAmb:\t0\n") == withheld


def test_packages_follow_the_release() -> None:
    assert host.packages(["docker", "dockerd"], {"docker.io"}.__contains__) == ["docker.io"]
    assert host.packages(["docker", "dockerd"], lambda _: True) == ["docker-cli", "docker.io"]
    assert host.packages(["debootstrap"], lambda _: False) == ["debootstrap"]


@pytest.mark.parametrize(
    ("root", "debian", "expected"),
    [
        (False, True, "Install with: sudo apt-get install --no-install-recommends debootstrap docker.io"),
        (True, True, "Install with: apt-get install --no-install-recommends debootstrap docker.io"),
        (True, False, "(on Debian: debootstrap docker.io)"),
    ],
)
def test_the_advice_names_programs_and_command(root: bool, debian: bool, expected: str) -> None:
    known = {"docker.io", "debootstrap"}.__contains__
    sentence = host.advice(["docker", "debootstrap"], known, root=root, debian=debian)
    assert "Missing on this machine: docker, debootstrap." in sentence
    assert expected in sentence


def test_missing_programs() -> None:
    assert host.missing(["sh", "no-such-program"]) == ["no-such-program"]


@pytest.mark.parametrize(
    ("text", "version"),
    [("go version go1.26.8 linux/amd64", (1, 26)), ("go version devel go1.27-abc", (1, 27)), ("", (0, 0))],
)
def test_go_versions(text: str, version: tuple[int, int]) -> None:
    assert toolchain.go_version(text) == version
