"""The queue against a list, by every order of its operations."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from haldane_runtime.core.errors import Code, RequestError
from haldane_runtime.core.types import InferRequest
from haldane_runtime.scheduling.queue import Pending, RequestQueue

LIMIT = 3


def pending() -> Pending:
    return Pending(InferRequest({}, ()), 0, lambda _: None)


@given(st.lists(st.sampled_from(["put", "take", "abandon first", "abandon last", "abandon taken"]), max_size=40))
def test_only_living_requests_are_counted_in_order_and_bounded(steps: list[str]) -> None:
    queue = RequestQueue(LIMIT)
    waiting: list[Pending] = []
    taken: list[Pending] = []
    for step in steps:
        if step == "put":
            item = pending()
            if len(waiting) == LIMIT:
                with pytest.raises(RequestError, match="the queue is full"):
                    queue.put(item)
            else:
                queue.put(item)
                waiting.append(item)
        elif step == "take" and waiting:
            item = waiting.pop(0)
            assert queue.take() is item
            taken.append(item)
        elif step == "abandon taken" and taken:
            queue.abandon(taken[-1])
        elif step.startswith("abandon") and waiting:
            queue.abandon(waiting.pop(0 if step == "abandon first" else -1))
        assert len(queue) == len(waiting)


def test_a_closed_queue_gives_out_what_waits_and_takes_no_more() -> None:
    queue = RequestQueue(LIMIT)
    item = pending()
    queue.put(item)
    queue.close()
    with pytest.raises(RequestError, match="the server is stopping") as caught:
        queue.put(pending())
    assert caught.value.code is Code.UNAVAILABLE
    assert queue.take() is item
    assert queue.take() is None
