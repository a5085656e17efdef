import sys
import threading
from typing import Any

import pytest

from haldane_runtime.scheduling.executor import FAR_TOO_SLOW_SECONDS, INLINE_SECONDS, EngineThreads, InlineBound

QUICK, SLOW = INLINE_SECONDS / 2, INLINE_SECONDS * 2


def test_nothing_is_inline_before_it_has_proved_to_be_quick() -> None:
    bound = InlineBound(fixed_cost=True)
    assert not bound.allows(QUICK, 100)
    bound.observe(QUICK, 100)
    assert bound.allows(QUICK, 200)
    assert not bound.allows(QUICK, 201)
    assert not bound.allows(SLOW, 100)
    assert not bound.allows(0.0, 100)


def test_one_slow_run_may_be_the_machines_fault_and_two_are_not() -> None:
    bound = InlineBound(fixed_cost=True)
    bound.observe(QUICK, 100)
    bound.observe(SLOW, 100)
    assert bound.allows(QUICK, 100)
    bound.observe(QUICK, 100)
    bound.observe(SLOW, 100)
    assert bound.allows(QUICK, 100)
    bound.observe(SLOW, 100)
    assert not bound.allows(QUICK, 100)


def test_quick_runs_prove_nothing_where_the_values_say_how_long_a_run_is() -> None:
    bound = InlineBound(fixed_cost=False)
    for _ in range(100):
        bound.observe(QUICK, 100)
        assert not bound.allows(QUICK, 100)


@pytest.mark.parametrize(
    ("seconds", "busy", "trusted"),
    [
        (1.01 * FAR_TOO_SLOW_SECONDS, 1.0, False),
        (0.99 * FAR_TOO_SLOW_SECONDS, 1.0, True),
        # A container out of its share of the processor, a machine that sleeps
        (5.0, 0.0, True),
        (5.0, 0.01, False),
    ],
)
def test_a_run_that_held_everybody_up_is_the_last_one_to_do_so(seconds: float, busy: float, trusted: bool) -> None:
    used = 7.0
    bound = InlineBound(True, lambda: used)
    bound.observe(QUICK, 100)
    # The loop was busy with other work before, which is not this run's.
    bound.begin(10.0)
    used += 0.008
    bound.begin(10.008)
    used += seconds * busy
    bound.end(10.008, 10.008 + seconds)
    for _ in range(100):
        bound.observe(QUICK, 100)
    assert bound.allows(QUICK, 100) is trusted


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
