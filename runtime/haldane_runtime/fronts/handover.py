"""Open connections from one process to another: file descriptors over a socket pair that keeps messages apart."""

import asyncio
import socket
import struct
from collections import deque
from collections.abc import Callable

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
        self._waiting: deque[tuple[int, int, Callable[[], None]]] = deque()
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(end, self._receive)

    def send(self, number: int, descriptor: int, sent: Callable[[], None]) -> None:
        """Hand over the open file `descriptor`; `sent` is called once it may be closed here, maybe at once."""
        self._waiting.append((number, descriptor, sent))
        if len(self._waiting) == 1:
            self._send()

    def close(self) -> None:
        self._loop.remove_reader(self._end)
        self._loop.remove_writer(self._end)
        self._end.close()

    def _send(self) -> None:
        while self._waiting:
            number, descriptor, sent = self._waiting[0]
            try:
                socket.send_fds(self._end, [_NUMBER.pack(number)], [descriptor])
            except BlockingIOError:
                self._loop.add_writer(self._end, self._send)
                return
            except OSError:
                # The other process is gone, and this connection with it.
                pass
            self._waiting.popleft()
            sent()
        self._loop.remove_writer(self._end)

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
