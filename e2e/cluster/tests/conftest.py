"""A cache of its own for each test."""

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Path:
    """The project's folder in an empty cache; tests of the real cluster keep the user's."""
    if request.node.get_closest_marker("e2e") is None:
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "haldane"
