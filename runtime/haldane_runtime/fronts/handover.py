"""Open connections from one process to another: file descriptors over a socket pair that keeps messages apart."""

import asyncio
import logging
import os
import socket
import struct
from collections import deque
from collections.abc import Callable

log = logging.getLogger(__name__)

_NUMBER = struct.Struct("<Q")
# Far more than connections can wait at once.
_AT_ONCE = 64


class Handover:
    """One end; `received` gets a number and the socket that came with it. Belongs to the event loop's thread."""

    def __init__(self, end: socket.socket, received: Callable[[int, socket.socket], None]) -> None:
        """`end` is one end of a pair of SOCK_SEQPACKET."""
        end.setblocking(False)
        self._end = end
        self._received = received
        self._waiting: deque[tuple[int, int, Callable[[bool], None]]] = deque()
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(end, self._receive)

    def send(self, number: int, descriptor: int, sent: Callable[[bool], None]) -> None:
        """Hand over the open file `descriptor`; `sent` is told, maybe at once, whether that worked."""
        # A copy, since the original's number may be another connection's by the time that it goes.
        self._waiting.append((number, os.dup(descriptor), sent))
        if len(self._waiting) == 1:
            self._send()

    def close(self) -> None:
        """Receive what has been sent, and give up what has not gone."""
        if self._end.fileno() < 0:
            return
        self._receive()
        self._loop.remove_reader(self._end)
        self._loop.remove_writer(self._end)
        self._end.close()
        while self._waiting:
            self._gone(False)

    def _send(self) -> None:
        while self._waiting:
            number, descriptor, _ = self._waiting[0]
            try:
                socket.send_fds(self._end, [_NUMBER.pack(number)], [descriptor])
            except BlockingIOError:
                self._loop.add_writer(self._end, self._send)
                return
            except OSError:
                # The other process is gone.
                self._gone(False)
            else:
                self._gone(True)
        if self._end.fileno() >= 0:
            self._loop.remove_writer(self._end)

    def _gone(self, worked: bool) -> None:
        _, descriptor, sent = self._waiting.popleft()
        os.close(descriptor)
        sent(worked)

    def _receive(self) -> None:
        for _ in range(_AT_ONCE):
            try:
                data, descriptors, _, _ = socket.recv_fds(self._end, _NUMBER.size, 1)
            except (BlockingIOError, InterruptedError):
                return
            except OSError:
                data, descriptors = b"", []
            if not data:
                self._loop.remove_reader(self._end)
                return
            if descriptors:
                self._received(_NUMBER.unpack(data)[0], socket.socket(fileno=descriptors[0]))
            else:
                log.error("a connection was lost on its way between two processes: too many open files?")
