"""Host ports of a cluster, on 127.0.0.1 alone: chosen once, remembered with the cluster."""

import socket
import zlib
from collections.abc import Callable, Collection

NODE_PORTS = {"ingress": 30080, "prometheus": 30090, "s3": 30083}
"""The node's ports behind the host's; the add-ons' Services name them."""

NAMES = ("api", *NODE_PORTS)

FIRST, LAST = 20000, 29999
"""Below the range from which Linux takes the ports of outgoing connections (32768 on), so that a remembered port is not
taken by chance while its cluster rests."""


def choose(name: str, taken: Collection[int], free: Callable[[int], bool]) -> dict[str, int]:
    """A port for each of NAMES.

    The search starts at a place that follows from the cluster's name: different names rarely meet, the same name gets the
    same ports again. `taken` are ports that other clusters remember, `free` asks the machine. Raises ValueError when the
    range is used up.
    """
    span = LAST - FIRST + 1
    start = zlib.crc32(name.encode()) % span
    chosen: dict[str, int] = {}
    for step in range(span):
        port = FIRST + (start + step) % span
        if port not in taken and free(port):
            chosen[NAMES[len(chosen)]] = port
            if len(chosen) == len(NAMES):
                return chosen
    raise ValueError(f"no {len(NAMES)} free ports between {FIRST} and {LAST}")


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
