"""A recording tells each version once and in order, also those that were written between two readings."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from e2e.apiserver import recording
from e2e.apiserver.recording import Recording

if TYPE_CHECKING:
    from e2e.apiserver.rest import Rest

pytestmark = pytest.mark.api


def test_every_version_is_told_once(rest: Rest, namespace: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recording, "EVERY_SECONDS", 0.1)
    body: dict[str, Any] = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "before"}}
    rest.create(namespace, body)
    recorded = Recording(rest, namespace, "ConfigMap", "Secret")
    rest.create(namespace, {**body, "metadata": {"name": "counted"}})
    for number in range(12):
        rest.merge("ConfigMap", namespace, "counted", {"data": {"number": str(number)}})
        time.sleep(0.3)  # several readings take place meanwhile
    rest.delete("ConfigMap", namespace, "counted")

    told = recorded.versions("ConfigMap")
    assert [what for what, _ in told] == ["ADDED", *["MODIFIED"] * 12, "DELETED"]
    assert [body["data"]["number"] for what, body in told if what == "MODIFIED"] == [str(n) for n in range(12)]
    assert recorded.versions("Secret") == []


def test_what_was_missed_is_said(rest: Rest, namespace: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def forgotten(*_: str) -> list[Any]:
        raise AssertionError("the history since 1 is not there any more")

    monkeypatch.setattr(rest, "history", forgotten)
    recorded = Recording(rest, namespace, "ConfigMap")
    with pytest.raises(AssertionError, match="not there any more"):
        recorded.versions("ConfigMap")
