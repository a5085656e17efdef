import sys
import threading
from typing import Any

import pytest

from haldane_runtime.scheduling.executor import INLINE_SECONDS, EngineThreads, InlineBound

QUICK, SLOW = INLINE_SECONDS / 2, INLINE_SECONDS * 2


def test_nothing_is_inline_before_it_has_proved_to_be_quick() -> None:
    bound = InlineBound()
    assert not bound.allows(QUICK, 100)
    bound.observe(QUICK, 100)
    assert bound.allows(QUICK, 200)
    assert not bound.allows(QUICK, 201)
    assert not bound.allows(SLOW, 100)
    assert not bound.allows(0.0, 100)


def test_one_slow_run_may_be_the_machines_fault_and_two_are_not() -> None:
    bound = InlineBound()
    bound.observe(QUICK, 100)
    bound.observe(SLOW, 100)
    assert bound.allows(QUICK, 100)
    bound.observe(QUICK, 100)
    bound.observe(SLOW, 100)
    assert bound.allows(QUICK, 100)
    bound.observe(SLOW, 100)
    assert not bound.allows(QUICK, 100)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("stopped", [True, False])
def test_a_thread_that_is_gone_is_known(stopped: bool) -> None:
    engine: Any = None
    threads = EngineThreads(engine)
    assert threads.alive
    threads.add()
    assert threads.alive
    if stopped:
        threads.stop(10)
    else:
        (thread,) = (thread for thread in threading.enumerate() if thread.name == "engine")
        threads.run([], lambda: False, lambda _: sys.exit())
        thread.join(10)
    assert threads.stopped
    assert not threads.alive
