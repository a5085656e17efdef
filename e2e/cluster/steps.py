"""The plan: named steps, what each needs, and which of them are still to be done."""

import concurrent.futures
import functools
import time
from collections.abc import Callable, Iterable, Sequence, Sized
from dataclasses import dataclass, field
from typing import Protocol

from e2e.cluster.errors import ClusterError
from e2e.cluster.shell import Shell


@dataclass(frozen=True)
class Step:
    """One named piece of work. Steps of the same lane run one after the other, lanes run side by side."""

    name: str
    title: str
    run: Callable[[Shell], None]
    needs: tuple[str, ...] = ()
    done: Callable[[], bool] = field(default=lambda: False)
    lane: str = "images"


class Watcher(Protocol):
    """Who is told how the steps go; a step that ended without seconds has failed."""

    def started(self, step: Step) -> None: ...
    def noted(self, step: Step, text: str) -> None: ...
    def told(self, step: Step, text: str) -> None: ...
    def ended(self, step: Step, seconds: float | None) -> None: ...


def pending(steps: Sequence[Step], targets: Iterable[str]) -> list[Step]:
    """The steps still to run for `targets`, in the order of `steps`.

    A step that is done is left out, and so is what only it needed: with a running cluster, nobody asks for the compiler's
    output. Raises ValueError when a step needs one that does not come before it, which also rules out circles.
    """
    position: dict[str, int] = {}
    for index, step in enumerate(steps):
        if late := [need for need in step.needs if need not in position]:
            raise ValueError(f"step {step.name!r} needs {', '.join(late)}, which must stand before it")
        position[step.name] = index
    wanted: set[str] = set()
    seen: set[str] = set()
    queue = list(targets)
    while queue:
        name = queue.pop()
        if name in seen:
            continue
        seen.add(name)
        step = steps[position[name]]
        if not step.done():
            wanted.add(name)
            queue.extend(step.needs)
    return [step for step in steps if step.name in wanted]


def startable(waiting: Sequence[Step], running: Sequence[Step], finished: set[str]) -> list[Step]:
    """The steps that may start now: one a lane, in the plan's order, all their needs met.

    `finished` also holds the names of steps that were left out because they had been done before.
    """
    busy = {step.lane for step in running}
    chosen = []
    for step in waiting:
        if step.lane not in busy and finished.issuperset(step.needs):
            chosen.append(step)
            busy.add(step.lane)
    return chosen


def execute(steps: Sequence[Step], finished: Iterable[str], watcher: Watcher) -> None:
    """Run steps to the end. The first failure stops the others and is raised; so does Ctrl-C.

    Raises ValueError when steps are left that can never start.
    """
    waiting, done = list(steps), set(finished)
    running: dict[concurrent.futures.Future[float], tuple[Step, Shell]] = {}
    lanes = max(1, len({step.lane for step in steps}))
    with concurrent.futures.ThreadPoolExecutor(lanes) as pool:
        try:
            while waiting or running:
                for step in startable(waiting, [step for step, _ in running.values()], done):
                    waiting.remove(step)
                    note, tell = functools.partial(watcher.noted, step), functools.partial(watcher.told, step)
                    shell = Shell(step.name, note, tell)
                    watcher.started(step)
                    running[pool.submit(_timed, step, shell)] = (step, shell)
                _check(running, waiting)
                ready, _ = concurrent.futures.wait(running, return_when=concurrent.futures.FIRST_COMPLETED)
                for future in ready:
                    step, _ = running.pop(future)
                    watcher.ended(step, future.result() if future.exception() is None else None)
                    future.result()
                    done.add(step.name)
        except BaseException:
            for _, shell in running.values():
                shell.stop()
            raise


def _check(running: Sized, waiting: Sequence[Step]) -> None:
    if not running:
        raise ValueError(f"nothing can start: {', '.join(step.name for step in waiting)}")


def _timed(step: Step, shell: Shell) -> float:
    """The step's seconds. Its errors get its title in front."""
    start = time.monotonic()
    try:
        step.run(shell)
    except ClusterError as error:
        raise ClusterError(f"{step.title}: {error}") from error
    return time.monotonic() - start
