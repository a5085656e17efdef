"""The requests that wait, in lanes: those of one lane may share a run. No I/O, no clock."""

from collections import OrderedDict
from collections.abc import Iterator

from haldane_runtime.scheduling.merge import MergeKey
from haldane_runtime.scheduling.policy import Backlog
from haldane_runtime.scheduling.ticket import Ticket

# In order of arrival. A list or a deque finds one in its middle by looking at all before it, a plain dict its first
# one by passing all that have left.
_Queue = OrderedDict[Ticket, None]


class WaitingLine:
    """First come, first served, but for those that may share the run of one who came earlier.

    `backlog` is kept equal to what waits. To come and to leave costs the same however many wait, and
    in however many lanes.
    """

    def __init__(self) -> None:
        self.backlog = Backlog()
        self._all: _Queue = OrderedDict()
        self._lanes: dict[MergeKey | None, _Queue] = {}

    def __bool__(self) -> bool:
        return bool(self._all)

    def __iter__(self) -> Iterator[Ticket]:
        return iter(self._all)

    def add(self, ticket: Ticket) -> None:
        """To the end of its lane."""
        lane = self._lanes.get(ticket.key)
        if lane is None:
            lane = self._lanes[ticket.key] = OrderedDict()
        lane[ticket] = None
        self._all[ticket] = None
        backlog = self.backlog
        backlog.requests += 1
        backlog.rows += ticket.rows
        backlog.bytes += ticket.nbytes

    def withdraw(self, ticket: Ticket) -> None:
        """Free its place and its memory; nothing happens when it does not wait here."""
        if ticket in self._all:
            self._leave([ticket], self._lanes[ticket.key])

    def take(self, max_rows: int, max_bytes: int, now: float) -> tuple[list[Ticket], list[Ticket]]:
        """The next batch, and those whose deadline has passed on the way to it; both leave the line.

        The batch begins with the one that waits longest and holds `max_rows` and `max_bytes` at most,
        unless the first has more by itself. It is empty only when nobody is left.
        """
        late: list[Ticket] = []
        while self._all:
            key = next(iter(self._all)).key
            batch = self._take(self._lanes[key], key is None, max_rows, max_bytes, now, late)
            if batch:
                return batch, late
        return [], late

    def _take(self, lane: _Queue, alone: bool, rows: int, room: int, now: float, late: list[Ticket]) -> list[Ticket]:
        batch: list[Ticket] = []
        gone: list[Ticket] = []
        for ticket in lane:
            if batch and (alone or ticket.rows > rows or ticket.nbytes > room):
                break
            gone.append(ticket)
            if ticket.deadline <= now:
                late.append(ticket)
                continue
            rows -= ticket.rows
            room -= ticket.nbytes
            batch.append(ticket)
        self._leave(gone, lane)
        return batch

    def _leave(self, tickets: list[Ticket], lane: _Queue) -> None:
        rows = nbytes = 0
        for ticket in tickets:
            del self._all[ticket]
            del lane[ticket]
            rows += ticket.rows
            nbytes += ticket.nbytes
        if not lane:
            del self._lanes[tickets[0].key]
        backlog = self.backlog
        backlog.requests -= len(tickets)
        backlog.rows -= rows
        backlog.bytes -= nbytes
