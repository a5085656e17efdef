"""A model of any size, and a proxy that does to HTTP what networks and servers do."""

import fcntl
import socket
import struct
import termios
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

STALL_SECONDS = 60.0
_BUSY = b"<Error><Code>SlowDown</Code><Message>Please reduce your rate.</Message></Error>"
SLOW_DOWN = b"HTTP/1.1 503 Slow Down\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s" % (len(_BUSY), _BUSY)


@pytest.fixture
def heavy(models: Any) -> Callable[[int], Path]:
    """`heavy(size)` is the path of a model of about `size` bytes that answers 2 x."""

    def make(size: int) -> Path:
        weights = numpy_helper.from_array(np.random.default_rng(size).random(size // 4, np.float32), "w")
        zero = numpy_helper.from_array(np.zeros(1, np.float32), "zero")
        nodes = [
            helper.make_node("ReduceSum", ["w"], ["sum"]),
            helper.make_node("Mul", ["sum", "zero"], ["nothing"]),
            helper.make_node("Add", ["x", "x"], ["double"]),
            helper.make_node("Add", ["double", "nothing"], ["y"]),
        ]
        x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 3]) for name in ("x", "y"))
        path: Path = models.save(f"heavy{size}", nodes, [x], [y], [weights, zero])
        return path

    return make


@dataclass(frozen=True, slots=True)
class Fault:
    """What happens to one answer: bytes count those of the body, times are in seconds, a rate in bytes a second."""

    delay: float = 0.0
    reset_after: int | None = None
    cut_after: int | None = None
    stall_after: int | None = None
    instead: bytes | None = None
    rate: int | None = None


Plan = Callable[[int, str], Fault | None]


class FaultProxy:
    """In front of `port` of this machine: `plan(number, head)` gives the fault of the request of that number, or None.

    Heads are the request's lines as text. One request a connection, so that each can fail alone.
    """

    def __init__(self, port: int, plan: Plan) -> None:
        self._target = port
        self._plan = plan
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.heads: list[str] = []
        self.at_once = 0
        self.most_at_once = 0
        self.released = threading.Event()
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def ranges(self) -> list[str]:
        """The Range headers in the order of their requests."""
        lines = (line for head in self.heads for line in head.splitlines())
        return [line.split(": ", 1)[1] for line in lines if line.lower().startswith("range:")]

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(near,), daemon=True).start()

    def _serve(self, near: socket.socket) -> None:
        with near, suppress(OSError):
            head = b""
            while b"\r\n\r\n" not in head:
                data = near.recv(1 << 16)
                if not data:
                    return
                head += data
            with self._lock:
                number = len(self.heads)
                self.heads.append(head.decode("latin-1"))
                self.at_once += 1
                self.most_at_once = max(self.most_at_once, self.at_once)
            try:
                self._answer(near, head, self._plan(number, self.heads[number]) or Fault())
            finally:
                with self._lock:
                    self.at_once -= 1

    def _answer(self, near: socket.socket, head: bytes, fault: Fault) -> None:
        if fault.delay:
            self.released.wait(fault.delay)
        if fault.instead is not None:
            near.sendall(fault.instead)
            return
        with socket.create_connection(("127.0.0.1", self._target)) as far:
            far.sendall(head.replace(b"\r\n", b"\r\nConnection: close\r\n", 1))
            answer = b""
            while b"\r\n\r\n" not in answer:
                data = far.recv(1 << 16)
                if not data:
                    return
                answer += data
            lines, _, body = answer.partition(b"\r\n\r\n")
            near.sendall(lines + b"\r\n\r\n")
            self._body(near, far, body, fault)

    def _body(self, near: socket.socket, far: socket.socket, data: bytes, fault: Fault) -> None:
        sent = 0
        limits = [limit for limit in (fault.reset_after, fault.cut_after, fault.stall_after) if limit is not None]
        limit = limits[0] if limits else None
        while data := data or far.recv(1 << 16):
            part = data if limit is None else data[: limit - sent]
            step = min(fault.rate or 1 << 16, 1 << 16)
            for at in range(0, len(part), step):
                near.sendall(part[at : at + step])
                if fault.rate:
                    time.sleep(step / fault.rate)
            sent += len(part)
            data = b""
            if limit is not None and sent >= limit:
                break
        if sent == fault.stall_after:
            self.released.wait(STALL_SECONDS)
        if sent == fault.reset_after:
            # What the other end's kernel has is read before the reset is seen; what ours still holds is lost with it.
            while struct.unpack("i", fcntl.ioctl(near, termios.TIOCOUTQ, bytes(4)))[0]:
                if self.released.wait(0.005):
                    break
            # With this the kernel sends a reset instead of an orderly end.
            near.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def close(self) -> None:
        self.released.set()
        self._listener.close()


@pytest.fixture
def faulty() -> Iterator[Callable[[int, Plan], FaultProxy]]:
    """`faulty(port, plan)` is a proxy that ends with the test."""
    proxies: list[FaultProxy] = []

    def make(port: int, plan: Plan) -> FaultProxy:
        proxies.append(FaultProxy(port, plan))
        return proxies[-1]

    yield make
    for proxy in proxies:
        proxy.close()


@pytest.fixture
def fault() -> type[Fault]:
    return Fault


@pytest.fixture
def slow_down() -> bytes:
    return SLOW_DOWN
