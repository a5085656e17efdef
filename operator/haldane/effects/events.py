"""Kubernetes Events as the control loop's `Recorder`: the same Event again is counted, not repeated."""

from __future__ import annotations

import logging
from collections import OrderedDict
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from haldane.control.errors import Conflict, Retryable, Terminal
from haldane.control.ports import Clock, Event, Manifest
from haldane.effects import requests
from haldane.effects.kube import KubeCluster

logger = logging.getLogger(__name__)

SAME_WITHIN = timedelta(minutes=10)
"""An Event that is recorded again within this time of its last count is not sent at all, unless it is an answer."""
FORGOTTEN_AFTER = timedelta(minutes=50)
"""The API server keeps Events for an hour by default: an older one can no longer be counted."""
REMEMBERED = 2048
LONGEST_NOTE = 1024
CONTROLLER = "haldane.dev/operator"


@dataclass
class _Recorded:
    name: str
    count: int
    first: datetime
    counted: datetime


class EventRecorder:
    """Implements `control.ports.Recorder`."""

    def __init__(self, cluster: KubeCluster, clock: Clock, instance: str) -> None:
        self._cluster = cluster
        self._clock = clock
        self._instance = instance
        self._recorded: OrderedDict[tuple[str, str, str], _Recorded] = OrderedDict()

    async def record(self, regarding: Manifest, event: Event) -> None:
        """See `Recorder`."""
        now = self._clock.now()
        key = (regarding["metadata"]["uid"], event.reason, event.topic or event.message)
        known = self._recorded.get(key)
        if known and now - known.counted < SAME_WITHIN and not event.is_answer:
            return
        try:
            if known and now - known.first < FORGOTTEN_AFTER:
                await self._count(regarding, known, now)
            else:
                self._recorded[key] = await self._create(regarding, event, now)
                self._recorded.move_to_end(key)
        except (Retryable, Terminal, Conflict) as problem:
            # Gone with its namespace, or expired: an Event is not worth another try.
            self._recorded.pop(key, None)
            logger.debug("lost an Event", extra={"reason": str(problem), "event": event.reason})
        except Exception:
            # What was decided is done already, and more Events may wait behind this one.
            self._recorded.pop(key, None)
            logger.exception("an Event could not be recorded", extra={"event": event.reason})
        while len(self._recorded) > REMEMBERED:
            self._recorded.popitem(last=False)

    async def _create(self, regarding: Manifest, event: Event, now: datetime) -> _Recorded:
        body = body_of(regarding, event, now, self._instance)
        answer = await self._cluster.send(requests.create_event(regarding["metadata"]["namespace"], body))
        return _Recorded(answer["metadata"]["name"], 1, now, now)

    async def _count(self, regarding: Manifest, known: _Recorded, now: datetime) -> None:
        known.count, known.counted = known.count + 1, now
        body = {"series": {"count": known.count, "lastObservedTime": _micro(now)}}
        await self._cluster.send(requests.count_event(regarding["metadata"]["namespace"], known.name, body))


def body_of(regarding: Manifest, event: Event, now: datetime, instance: str) -> Manifest:
    """The `events.k8s.io/v1` Event."""
    metadata = regarding["metadata"]
    return {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"namespace": metadata["namespace"], "generateName": f"{metadata['name']}-"},
        "eventTime": _micro(now),
        "reportingController": CONTROLLER,
        "reportingInstance": instance[:128],
        "action": event.reason[:128],
        "reason": event.reason[:128],
        "type": event.type,
        "note": _shortened(event.message),
        "regarding": {
            "apiVersion": regarding["apiVersion"],
            "kind": regarding["kind"],
            "namespace": metadata["namespace"],
            "name": metadata["name"],
            "uid": metadata["uid"],
        },
    }


def _shortened(message: str) -> str:
    """The API server counts bytes, not characters."""
    # What a runtime says may hold halves of characters, which no JSON can.
    encoded = message.encode(errors="replace")
    if len(encoded) <= LONGEST_NOTE:
        return encoded.decode()
    return encoded[: LONGEST_NOTE - 4].decode(errors="ignore") + " …"


def _micro(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
