"""The requests that wait, in lanes: those of one lane may share a run. No I/O, no clock."""

from collections import deque
from collections.abc import Iterator

from haldane_runtime.scheduling.merge import MergeKey
from haldane_runtime.scheduling.policy import Backlog
from haldane_runtime.scheduling.ticket import Ticket


class WaitingLine:
    """First come, first served, but for those that may share the run of one who came earlier.

    `backlog` is kept equal to what waits.
    """

    def __init__(self) -> None:
        self.backlog = Backlog()
        self._lanes: dict[MergeKey | None, deque[Ticket]] = {}

    def __bool__(self) -> bool:
        return bool(self._lanes)

    def __iter__(self) -> Iterator[Ticket]:
        for lane in self._lanes.values():
            yield from lane

    @property
    def oldest(self) -> float:
        """The instant since when the first one waits. Raises: ValueError, when nobody does."""
        return min(lane[0].queued for lane in self._lanes.values())

    def add(self, ticket: Ticket) -> None:
        """To the end of its lane."""
        lane = self._lanes.get(ticket.key)
        if lane is None:
            lane = self._lanes[ticket.key] = deque()
        lane.append(ticket)
        backlog = self.backlog
        backlog.requests += 1
        backlog.rows += ticket.rows
        backlog.bytes += ticket.nbytes

    def withdraw(self, ticket: Ticket) -> None:
        """Free its place and its memory; nothing happens when it does not wait here."""
        lane = self._lanes.get(ticket.key)
        if lane is None or ticket not in lane:
            return
        lane.remove(ticket)
        self._left(ticket)
        if not lane:
            del self._lanes[ticket.key]

    def take(self, max_rows: int, max_bytes: int, now: float) -> tuple[list[Ticket], list[Ticket]]:
        """The next batch, and those whose deadline has passed on the way to it; both leave the line.

        The batch begins with the one that waits longest and holds `max_rows` and `max_bytes` at most,
        unless the first has more by itself. It is empty only when nobody is left.
        """
        late: list[Ticket] = []
        while self._lanes:
            key = next(iter(self._lanes))
            if len(self._lanes) > 1:
                key = min(self._lanes, key=lambda other: self._lanes[other][0].queued)
            batch = self._take(self._lanes[key], key is None, max_rows, max_bytes, now, late)
            if not self._lanes[key]:
                del self._lanes[key]
            if batch:
                return batch, late
        return [], late

    def _take(
        self, lane: deque[Ticket], alone: bool, rows: int, room: int, now: float, late: list[Ticket]
    ) -> list[Ticket]:
        batch: list[Ticket] = []
        while lane:
            ticket = lane[0]
            if batch and (alone or ticket.rows > rows or ticket.nbytes > room):
                break
            lane.popleft()
            self._left(ticket)
            if ticket.deadline <= now:
                late.append(ticket)
                continue
            rows -= ticket.rows
            room -= ticket.nbytes
            batch.append(ticket)
        return batch

    def _left(self, ticket: Ticket) -> None:
        backlog = self.backlog
        backlog.requests -= 1
        backlog.rows -= ticket.rows
        backlog.bytes -= ticket.nbytes
