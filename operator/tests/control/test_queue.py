"""The work queue on exact loop time."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest

from haldane.control.errors import Conflict, Retryable, Terminal
from haldane.control.queue import HEARTBEAT, SPARE, Pace, Queue

Run = Callable[[Any], Any]

PACE = Pace(spacing=0.1, burst=10, sustained=1.0, deadline=10.0, first_backoff=1.0, longest_backoff=8.0)


class Work:
    """Records the start of each pass; takes `takes` seconds and then does what `then` says, pass by pass."""

    def __init__(self, takes: float = 0.0, then: Iterable[Any] = ()) -> None:
        self.started: list[tuple[float, str]] = []
        self.takes, self.then = takes, list(then)
        self.at_once, self.most_at_once = 0, 0

    async def __call__(self, key: str) -> timedelta | None:
        self.started.append((round(asyncio.get_running_loop().time(), 3), key))
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await asyncio.sleep(self.takes)
        finally:
            self.at_once -= 1
        answer = self.then.pop(0) if self.then else None
        if isinstance(answer, Exception):
            raise answer
        return answer


def play(
    run_exactly: Run,
    work: Callable[[str], Any],
    script: Iterable[tuple[float, str, float]],
    until: float = 100.0,
    workers: int = 4,
) -> Queue[str]:
    """Run the queue, `script` being (time, key, after) of each add; the queue comes back after `until` seconds."""

    async def main() -> Queue[str]:
        queue = Queue(work, workers=workers, pace=PACE)
        running = asyncio.create_task(queue.run())
        loop = asyncio.get_running_loop()
        for at, key, after in script:
            loop.call_at(at, queue.add, key, after)
        await asyncio.sleep(until)
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running
        return queue

    made: Queue[str] = run_exactly(main())
    return made


def test_a_key_is_worked_on_at_once(run_exactly: Run) -> None:
    work = Work()
    play(run_exactly, work, [(1.0, "a", 0.0)])
    assert work.started == [(1.0, "a")]


def test_events_during_a_pass_become_one_more_pass_after_a_rest(run_exactly: Run) -> None:
    work = Work(takes=1.0)
    play(run_exactly, work, [(0.0, "a", 0.0)] + [(0.01 * i, "a", 0.0) for i in range(1, 50)])
    assert work.started == [(0.0, "a"), (1.1, "a")]


def test_events_before_the_pass_starts_are_one_pass(run_exactly: Run) -> None:
    work = Work(takes=5.0)
    play(run_exactly, work, [(0.0, "a", 0.0), (1.0, "b", 0.0), (2.0, "b", 0.0), (3.0, "b", 0.0)], workers=1)
    assert work.started == [(0.0, "a"), (5.0, "b")]


def test_looks_every_second_are_never_held_up(run_exactly: Run) -> None:
    """A look takes three passes: one that asks, one that decides on the answer, one that sees what follows."""
    work = Work()
    due = [round(second + after, 3) for second in range(300) for after in (0.0, 0.1, 0.2)]

    async def main() -> None:
        queue: Queue[str] = Queue(work)
        running = asyncio.create_task(queue.run())
        for at in due:
            asyncio.get_running_loop().call_at(at, queue.add, "a")
        await asyncio.sleep(301)
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running

    run_exactly(main())
    assert [at for at, _ in work.started] == due


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ([(0.0, "a", 5.0), (1.0, "a", 1.0)], [2.0]),
        ([(0.0, "a", 1.0), (0.5, "a", 9.0)], [1.0]),
        ([(0.0, "a", 3.0), (3.5, "a", 0.0)], [3.0, 3.5]),
    ],
)
def test_the_earliest_time_wins(run_exactly: Run, script: Any, expected: Any) -> None:
    work = Work()
    play(run_exactly, work, script)
    assert [at for at, _ in work.started] == expected


def test_the_earliest_time_wins_during_a_pass(run_exactly: Run) -> None:
    work = Work(takes=1.0, then=[timedelta(seconds=30)])
    play(run_exactly, work, [(0.0, "a", 0.0), (0.5, "a", 4.0)])
    assert work.started == [(0.0, "a"), (4.5, "a")]


def test_the_answer_says_when_to_look_again(run_exactly: Run) -> None:
    work = Work(then=[timedelta(seconds=7), timedelta(seconds=20), None])
    play(run_exactly, work, [(0.0, "a", 0.0)])
    assert work.started == [(0.0, "a"), (7.0, "a"), (27.0, "a")]


def test_a_key_never_runs_twice_at_once_and_workers_are_bounded(run_exactly: Run) -> None:
    work = Work(takes=1.0)
    play(run_exactly, work, [(0.01 * i, key, 0.0) for i, key in enumerate("abcde")] + [(0.5, "a", 0.0)], workers=2)
    assert work.most_at_once == 2
    assert [key for _, key in work.started] == ["a", "b", "c", "d", "e", "a"]


def test_failures_back_off_up_to_a_cap_and_success_forgets_them(run_exactly: Run) -> None:
    bad = [RuntimeError("no")] * 6
    work = Work(then=[*bad, timedelta(seconds=10), RuntimeError("no"), None])
    play(run_exactly, work, [(0.0, "a", 0.0)])
    gaps = [round(later - sooner, 3) for (sooner, _), (later, _) in itertools.pairwise(work.started)]
    assert gaps == [1.0, 2.0, 4.0, 8.0, 8.0, 8.0, 10.0, 1.0]


@pytest.mark.parametrize(
    ("error", "gaps"),
    [
        (Terminal("refused"), [1.0, 2.0, 3.0, 3.0, 8.0]),
        (RuntimeError("no"), [1.0, 2.0, 3.0, 3.0, 8.0]),
        (Retryable("busy", timedelta(seconds=5)), [5.0, 5.0, 5.0, 5.0, 8.0]),
    ],
)
def test_a_key_may_bear_less_backoff_for_a_while(run_exactly: Run, error: Exception, gaps: list[float]) -> None:
    work = Work(then=[error] * 5)

    async def main() -> None:
        queue: Queue[str] = Queue(work, pace=PACE, patience=lambda key: 3.0 if len(work.started) < 5 else None)
        running = asyncio.create_task(queue.run())
        queue.add("a")
        await asyncio.sleep(100.0)
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running

    run_exactly(main())
    assert [round(later - sooner, 3) for (sooner, _), (later, _) in itertools.pairwise(work.started)] == gaps


@pytest.mark.parametrize(
    ("error", "gap"),
    [
        (Retryable("busy"), 1.0),
        (Retryable("busy", timedelta(seconds=5)), 5.0),
        (Retryable("busy", timedelta(milliseconds=1)), 1.0),
        (Conflict("changed"), 1.0),
        (Terminal("refused"), 1.0),
    ],
)
def test_a_retryable_may_ask_for_more_than_the_backoff(run_exactly: Run, error: Any, gap: Any) -> None:
    work = Work(then=[error])
    play(run_exactly, work, [(0.0, "a", 0.0)])
    assert [at for at, _ in work.started] == [0.0, gap]


def test_an_event_does_not_wait_for_the_backoff(run_exactly: Run) -> None:
    work = Work(then=[RuntimeError("no")] * 4)
    play(run_exactly, work, [(0.0, "a", 0.0), (3.5, "a", 0.0)], until=4.0)
    assert [at for at, _ in work.started] == [0.0, 1.0, 3.0, 3.5]


def test_a_pass_has_a_deadline(run_exactly: Run) -> None:
    work = Work(takes=1000.0)
    play(run_exactly, work, [(0.0, "a", 0.0)], until=12.0)
    assert work.started == [(0.0, "a"), (11.0, "a")]


def test_a_failing_key_does_not_hold_up_others(run_exactly: Run) -> None:
    work = Work(takes=0.5, then=[RuntimeError("no")])
    play(run_exactly, work, [(0.0, "bad", 0.0), (0.1, "good", 0.0)], workers=1, until=2.0)
    assert work.started == [(0.0, "bad"), (0.5, "good"), (1.5, "bad")]


def test_the_beat_goes_on_while_nothing_happens(run_exactly: Run) -> None:
    queue = play(run_exactly, Work(), [], until=95.0)
    assert queue.beat is not None
    assert 95.0 - queue.beat <= HEARTBEAT


@pytest.mark.parametrize(("takes", "ended"), [(2.0, True), (4.0, False)])
def test_stopping_lets_a_pass_end_within_the_grace(run_exactly: Run, takes: Any, ended: Any) -> None:
    ends: list[str] = []

    async def work(key: str) -> None:
        await asyncio.sleep(takes)
        ends.append(key)

    async def main() -> float:
        queue = Queue(work, pace=PACE)
        running = asyncio.create_task(queue.run(grace=3.0))
        queue.add("a")
        await asyncio.sleep(0.5)
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running
        return asyncio.get_running_loop().time()

    assert run_exactly(main()) == pytest.approx(2.0 if ended else 3.5)
    assert bool(ends) == ended


def test_a_key_that_never_comes_to_rest_is_slowed_down(run_exactly: Run) -> None:
    work = Work(then=[timedelta(0)] * 25)
    play(run_exactly, work, [(0.0, "a", 0.0)])
    starts = [at for at, _ in work.started]
    assert starts[:10] == pytest.approx([0.1 * i for i in range(10)])
    assert [round(b - a, 3) for a, b in itertools.pairwise(starts[9:])] == [1.0] * 16
    assert len(starts) == 26


def test_a_calm_key_is_forgotten(run_exactly: Run) -> None:
    work = Work(then=[timedelta(0)] * 12)
    queue = play(run_exactly, work, [(0.0, "a", 0.0)], until=60.0)
    assert not queue._starts


def urgently(
    run_exactly: Run, work: Work, then: Callable[[Queue[str]], None], at: float = 0.5, many: int = 40, workers: int = 4
) -> Work:
    """Many keys are due at once, each pass takes a second; at a time something is done to the queue."""

    async def main() -> None:
        queue = Queue(work, workers=workers, pace=PACE)
        running = asyncio.create_task(queue.run())
        for number in range(many):
            queue.add(f"k{number:02d}")
        asyncio.get_running_loop().call_at(at, then, queue)
        await asyncio.sleep(60.0)
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running

    run_exactly(main())
    return work


def test_what_is_urgent_waits_for_nothing_that_is_not(run_exactly: Run) -> None:
    work = urgently(run_exactly, Work(takes=1.0), lambda queue: queue.add("fire", urgent=True))
    assert (0.5, "fire") in work.started
    assert work.most_at_once == 5


def test_what_waits_already_may_become_urgent(run_exactly: Run) -> None:
    work = urgently(run_exactly, Work(takes=1.0), lambda queue: queue.add("k39", urgent=True))
    assert [key for _, key in work.started].count("k39") == 1
    assert (0.5, "k39") in work.started


def test_urgent_keys_have_a_bound_of_their_own(run_exactly: Run) -> None:
    def fires(queue: Queue[str]) -> None:
        for number in range(6):
            queue.add(f"fire{number}", urgent=True)

    work = urgently(run_exactly, Work(takes=1.0), fires)
    assert work.most_at_once == 4 + SPARE
    fires_at = [at for at, key in work.started if key.startswith("fire")]
    assert fires_at == [0.5, 0.5, 1.0, 1.0, 1.0, 1.0]  # and nothing else was started meanwhile


def test_an_urgent_pass_that_fails_stays_urgent(run_exactly: Run) -> None:
    work = Work(takes=1.0, then=[None] * 4 + [Retryable("away")])
    urgently(run_exactly, work, lambda queue: queue.add("fire", urgent=True), many=100)
    first, again = [at for at, key in work.started if key == "fire"]
    assert (first, again) == (0.5, 1.5 + PACE.first_backoff)


def test_an_urgent_key_that_runs_comes_again_after_a_rest(run_exactly: Run) -> None:
    work = urgently(run_exactly, Work(takes=1.0), lambda queue: queue.add("k00", urgent=True))
    assert [at for at, key in work.started if key == "k00"] == [0.0, 1.0 + PACE.spacing]
