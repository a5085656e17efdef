"""Host ports: free, apart from other clusters', and the same for the same name."""

import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from e2e.cluster import ports

names = st.text("abcdefghijklmnopqrstuvwxyz0123456789-", min_size=1, max_size=40)
some_ports = st.sets(st.integers(ports.FIRST, ports.LAST), max_size=50)


@given(names, some_ports, some_ports)
def test_chosen_ports_are_apart_and_in_range(name: str, taken: set[int], busy: set[int]) -> None:
    chosen = ports.choose(name, taken, lambda port: port not in busy)
    assert tuple(chosen) == ports.NAMES
    values = set(chosen.values())
    assert len(values) == len(ports.NAMES)
    assert values.isdisjoint(taken | busy)
    assert all(ports.FIRST <= port <= ports.LAST for port in values)


@given(names)
def test_the_same_name_gets_the_same_ports(name: str) -> None:
    assert ports.choose(name, (), lambda _: True) == ports.choose(name, (), lambda _: True)


def test_the_search_wraps_around() -> None:
    free = {ports.FIRST, ports.FIRST + 1, ports.FIRST + 2, ports.LAST}
    assert set(ports.choose("any", (), free.__contains__).values()) == free


def test_a_full_range_is_an_error() -> None:
    with pytest.raises(ValueError, match="no 4 free ports"):
        ports.choose("any", (), lambda port: port < ports.FIRST + 3)


def test_a_listening_port_is_not_free() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        assert not ports.is_free(listener.getsockname()[1])
