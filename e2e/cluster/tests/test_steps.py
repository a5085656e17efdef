"""The plan: what is still to be done, in which order, and what a failure does to the rest."""

import threading
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from e2e.cluster.errors import ClusterError
from e2e.cluster.shell import Shell
from e2e.cluster.steps import Step, execute, pending, startable


class Log:
    """A watcher that remembers."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def started(self, step: Step) -> None:
        self.lines.append(f"+{step.name}")

    def noted(self, step: Step, text: str) -> None:
        self.lines.append(f"{step.name}: {text}")

    def told(self, step: Step, text: str) -> None:
        self.lines.append(f"{step.name} tells: {text}")

    def ended(self, step: Step, seconds: float | None) -> None:
        self.lines.append(f"{'!' if seconds is None else '-'}{step.name}")


def step(
    name: str, *needs: str, done: bool = False, lane: str = "one", run: Callable[[Shell], None] = lambda _: None
) -> Step:
    return Step(name, name.title(), run, needs, done=lambda: done, lane=lane)


def named(steps: list[Step]) -> list[str]:
    return [step.name for step in steps]


def test_a_step_that_is_done_is_left_out_with_all_that_only_it_needed() -> None:
    steps = [step("compile"), step("image", "compile"), step("helm"), step("cluster", "image", done=True)]
    steps.append(step("add-ons", "cluster", "helm"))
    assert named(pending(steps, ["add-ons"])) == ["helm", "add-ons"]


def test_nothing_is_asked_below_a_step_that_is_done() -> None:
    def never() -> bool:
        raise AssertionError("asked although nobody needs it")

    steps = [Step("image", "Image", lambda _: None, done=never), step("cluster", "image", done=True)]
    assert pending(steps, ["cluster"]) == []


@pytest.mark.parametrize("wrong", ["later", "itself", "unknown"])
def test_needs_come_first(wrong: str) -> None:
    steps = [step("itself", wrong), step("later")]
    with pytest.raises(ValueError, match=f"'itself' needs {wrong}"):
        pending(steps, ["itself"])


@given(st.data())
def test_pending_is_closed_and_in_order(data: st.DataObject) -> None:
    count = data.draw(st.integers(1, 12))
    steps = []
    for index in range(count):
        needs = data.draw(st.sets(st.integers(0, index - 1))) if index else set()
        steps.append(step(str(index), *map(str, sorted(needs)), done=data.draw(st.booleans())))
    todo = pending(steps, [str(count - 1)])
    names = named(todo)
    assert names == sorted(names, key=int)
    assert not any(one.done() for one in todo)
    for one in todo:
        assert all(steps[int(need)].done() or need in names for need in one.needs)


def test_one_step_a_lane_at_a_time() -> None:
    waiting = [step("a", lane="x"), step("b", lane="x"), step("c", "a", lane="y"), step("d", lane="y")]
    assert named(startable(waiting, [], set())) == ["a", "d"]
    assert named(startable(waiting[1:3], [waiting[3]], {"a"})) == ["b"]


def test_steps_run_after_what_they_need() -> None:
    log = Log()
    steps = [step("first"), step("second", "first"), step("third", "before", "second")]
    execute(steps, {"before"}, log)
    assert log.lines == ["+first", "-first", "+second", "-second", "+third", "-third"]


def test_what_a_step_has_to_say_reaches_the_watcher() -> None:
    def run(shell: Shell) -> None:
        shell.say("waiting")
        shell.tell("It took two tries.")

    log = Log()
    execute([step("slow", run=run)], (), log)
    assert log.lines == ["+slow", "slow: waiting", "slow tells: It took two tries.", "-slow"]


def test_lanes_run_side_by_side() -> None:
    met = threading.Barrier(2, timeout=10)
    steps = [step(lane, lane=lane, run=lambda _: void(met.wait())) for lane in ("x", "y")]
    execute(steps, (), Log())


def void(_: object) -> None:
    return None


def test_a_failure_names_the_step_and_stops_the_others() -> None:
    started = threading.Event()

    def fail(_: Shell) -> None:
        started.wait(10)
        raise ClusterError("the disk is full.")

    def endless(shell: Shell) -> None:
        started.set()
        shell.run(["sleep", "100"], seconds=200)

    log = Log()
    steps = [step("endless", lane="x", run=endless), step("bad", lane="y", run=fail), step("never", "bad", lane="y")]
    with pytest.raises(ClusterError, match=r"Bad: the disk is full\."):
        execute(steps, (), log)
    assert "!bad" in log.lines
    assert "+never" not in log.lines


def test_steps_that_can_never_start_are_told() -> None:
    with pytest.raises(ValueError, match="nothing can start: lost"):
        execute([step("lost", "nowhere")], (), Log())
