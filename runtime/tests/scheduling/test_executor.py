from haldane_runtime.scheduling.executor import INLINE_SECONDS, InlineBound

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
