"""Events: sent once, then counted, and never in the way."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, cast

import pytest

from haldane.control.errors import Conflict, Retryable, Terminal
from haldane.control.ports import Event
from haldane.effects.events import LONGEST_NOTE, EventRecorder, body_of
from haldane.effects.kube import KubeCluster
from haldane.effects.requests import Request

if TYPE_CHECKING:
    from e2e.apiserver.rest import Rest

NOW = datetime(2026, 1, 1, tzinfo=UTC)
MODEL = {
    "apiVersion": "haldane.dev/v1alpha1",
    "kind": "ModelDeployment",
    "metadata": {"namespace": "shop", "name": "fraud", "uid": "p1"},
}
FAILED = Event("Warning", "CheckFailed", "check p99 failed")


class Sender:
    """Takes requests as `KubeCluster.send` does."""

    def __init__(self) -> None:
        self.sent: list[Request] = []
        self.error: Exception | None = None

    async def send(self, request: Request) -> dict[str, Any]:
        self.sent.append(request)
        if self.error:
            raise self.error
        return {"metadata": {"name": f"fraud.{len(self.sent)}"}}


class HandClock:
    def __init__(self) -> None:
        self.moment = NOW

    def now(self) -> datetime:
        return self.moment

    def steady(self) -> float:
        return self.moment.timestamp()


@pytest.fixture
def sender() -> Sender:
    return Sender()


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def recorder(sender: Sender, clock: HandClock) -> EventRecorder:
    return EventRecorder(cast("KubeCluster", sender), clock, "haldane-0")


async def test_the_same_event_is_sent_once_then_counted(
    recorder: EventRecorder, sender: Sender, clock: HandClock
) -> None:
    for minutes in (0, 1, 9, 11, 12, 25):
        clock.moment = NOW + timedelta(minutes=minutes)
        await recorder.record(MODEL, FAILED)
    assert [request.method for request in sender.sent] == ["POST", "PATCH", "PATCH"]
    assert sender.sent[2].path.endswith("/events/fraud.1")
    assert sender.sent[2].body == {"series": {"count": 3, "lastObservedTime": "2026-01-01T00:25:00.000000Z"}}


async def test_an_answer_is_counted_each_time(recorder: EventRecorder, sender: Sender, clock: HandClock) -> None:
    paused, resumed = (Event("Normal", reason, "by alice", is_answer=True) for reason in ("Paused", "Resumed"))
    for seconds, event in enumerate((paused, resumed, paused, resumed, paused)):
        clock.moment = NOW + timedelta(seconds=seconds)
        await recorder.record(MODEL, event)
    assert [request.method for request in sender.sent] == ["POST", "POST", "PATCH", "PATCH", "PATCH"]
    assert sender.sent[-1].path.endswith("/events/fraud.1")
    assert sender.sent[-1].body == {"series": {"count": 3, "lastObservedTime": "2026-01-01T00:00:04.000000Z"}}


async def test_one_topic_is_one_event_whatever_its_figures(
    recorder: EventRecorder, sender: Sender, clock: HandClock
) -> None:
    for minutes in (0, 1, 11):
        clock.moment = NOW + timedelta(minutes=minutes)
        await recorder.record(MODEL, Event("Warning", "Undecided", f"{minutes} requests so far", topic="few"))
    assert [request.method for request in sender.sent] == ["POST", "PATCH"]


async def test_an_event_that_has_expired_is_sent_anew(
    recorder: EventRecorder, sender: Sender, clock: HandClock
) -> None:
    await recorder.record(MODEL, FAILED)
    clock.moment += timedelta(hours=1)
    await recorder.record(MODEL, FAILED)
    assert [request.method for request in sender.sent] == ["POST", "POST"]


@pytest.mark.parametrize(
    ("regarding", "event"),
    [
        (MODEL, Event("Warning", "CheckFailed", "check errors failed")),
        (MODEL, Event("Warning", "Other", "check p99 failed")),
        ({**MODEL, "metadata": {**cast("dict[str, Any]", MODEL["metadata"]), "uid": "p2"}}, FAILED),
    ],
)
async def test_another_event_is_sent(recorder: EventRecorder, sender: Sender, regarding: Any, event: Event) -> None:
    await recorder.record(MODEL, FAILED)
    await recorder.record(regarding, event)
    assert [request.method for request in sender.sent] == ["POST", "POST"]


@pytest.mark.parametrize("error", [Retryable("away"), Terminal("namespace is terminating"), Conflict("changed")])
async def test_a_lost_event_is_no_error(recorder: EventRecorder, sender: Sender, error: Exception) -> None:
    sender.error = error
    await recorder.record(MODEL, FAILED)
    sender.error = None
    await recorder.record(MODEL, FAILED)
    assert [request.method for request in sender.sent] == ["POST", "POST"]


@pytest.mark.api
async def test_the_api_server_takes_and_counts_them(
    live_cluster: KubeCluster, clock: HandClock, namespace: str, rest: Rest
) -> None:
    recorder = EventRecorder(live_cluster, clock, "haldane-0")
    # About an object that is gone: that is told, too.
    regarding = {**MODEL, "metadata": {"namespace": namespace, "name": "a" * 253, "uid": "gone"}}
    long = Event("Normal", "Told", "ü" * 3000)
    for _ in range(3):
        await recorder.record(regarding, long)
        clock.moment += timedelta(minutes=11)
    await recorder.record(regarding, FAILED)
    first, second = sorted(rest.items("Event", namespace), key=lambda event: event["reason"], reverse=True)
    assert (first["reason"], first["series"]["count"]) == ("Told", 3)
    assert (second["type"], second["message"]) == ("Warning", "check p99 failed")
    assert second["involvedObject"]["kind"] == "ModelDeployment"


def test_the_body() -> None:
    body = body_of(MODEL, FAILED, NOW, "haldane-0")
    assert body["regarding"] == {
        "apiVersion": "haldane.dev/v1alpha1",
        "kind": "ModelDeployment",
        "namespace": "shop",
        "name": "fraud",
        "uid": "p1",
    }
    assert body["metadata"] == {"namespace": "shop", "generateName": "fraud-"}
    assert (body["type"], body["reason"], body["note"]) == ("Warning", "CheckFailed", "check p99 failed")
    assert body["eventTime"] == "2026-01-01T00:00:00.000000Z"


def test_half_a_character_is_replaced() -> None:
    assert body_of(MODEL, Event("Normal", "R", "so \ud800"), NOW, "h")["note"] == "so ?"


def test_a_long_note_fits() -> None:
    note = body_of(MODEL, Event("Normal", "R", "ü" * 2000), NOW, "h")["note"]
    assert len(note.encode()) <= LONGEST_NOTE
    assert note.endswith("ü …")
