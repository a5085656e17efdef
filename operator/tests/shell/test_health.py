"""Health: what the kubelet is told, and how log lines look."""

from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import Any, cast

import httpx
import pytest

from haldane.shell import health
from haldane.shell.logs import Logfmt

WELL = {"listed_at": 1000.0, "deaf": (), "beat": 1000.0}


@pytest.mark.parametrize(
    ("state", "now", "wrong"),
    [
        ({}, 1001.0, None),
        ({"listed_at": None}, 1.0, "starting"),
        ({"beat": None}, 1.0, "starting"),
        ({}, 1000.0 + health.LATE_BEAT + 1, "the work queue has not turned for 31 s"),
        ({"deaf": ("Pod",)}, 1001.0, "the watches of Pod no longer tell of changes"),
        ({"beat": 1950.0}, 1000.0 + health.LATE_LIST + 1, "the API server has not answered a list for 901 s"),
    ],
)
def test_trouble(state: dict[str, Any], now: float, wrong: str | None) -> None:
    known = SimpleNamespace(**(WELL | state))
    told = health.trouble(cast("Any", known), cast("Any", known), now)
    assert told == wrong or (wrong is not None and told is not None and told.startswith(wrong))


@pytest.mark.parametrize(("wrong", "status", "text"), [(None, 200, "ok\n"), ("it is stuck", 503, "it is stuck\n")])
async def test_served(wrong: str | None, status: int, text: str) -> None:
    runner, port = await health.serve(0, lambda: wrong)
    async with httpx.AsyncClient(trust_env=False) as client:
        answer = await client.get(f"http://127.0.0.1:{port}/healthz")
    await runner.cleanup()
    assert (answer.status_code, answer.text) == (status, text)


def record(message: str, **extra: Any) -> logging.LogRecord:
    made = logging.makeLogRecord({"name": "haldane.control", "levelno": 20, "levelname": "INFO", "msg": message})
    made.created = 1767268800.25
    made.__dict__.update(extra)
    return made


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (record("decided", key="a/b", weight=5, candidate=None), "msg=decided key=a/b weight=5"),
        (record("pass failed", reason='no "x"'), 'msg="pass failed" reason="no \\"x\\""'),
        (record("two\nlines", empty=""), 'msg="two\\nlines" empty=""'),
    ],
)
def test_log_lines(line: logging.LogRecord, expected: str) -> None:
    assert Logfmt().format(line) == f"time=2026-01-01T12:00:00.250Z level=info {expected}"


def test_an_error_of_a_library_is_one_line() -> None:
    text = Logfmt().format(record("boom", name="kopf.x", exc_info=(ValueError, ValueError("broken"), None)))
    assert "logger=kopf.x" in text
    assert "ValueError: broken" in text
    assert "\n" not in text
