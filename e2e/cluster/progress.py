"""How the steps are shown: live on a terminal, one line each elsewhere."""

import time
from types import TracebackType

from rich.console import Console, Group
from rich.live import Live
from rich.spinner import Spinner
from rich.text import Text

from e2e.cluster.steps import Step


class Progress:
    """A line for each step with its seconds. The lines of finished steps stay."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(stderr=True, highlight=False)
        self._running: dict[str, tuple[Step, float, Spinner]] = {}
        self._notes: dict[str, str] = {}
        self._live = Live(console=self.console, refresh_per_second=8, transient=True, get_renderable=self._lines)

    def __enter__(self) -> "Progress":
        if self.console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def started(self, step: Step) -> None:
        self._running[step.name] = (step, time.monotonic(), Spinner("dots"))
        if not self.console.is_terminal:
            self.console.print(f"{'...':>8}  {step.title}")

    def noted(self, step: Step, text: str) -> None:
        self._notes[step.name] = text

    def told(self, step: Step, text: str) -> None:
        self.say(f"{'':>8}  {step.title}: {text}")

    def ended(self, step: Step, seconds: float | None) -> None:
        self._running.pop(step.name, None)
        self._notes.pop(step.name, None)
        state = ("  failed", "bold red") if seconds is None else (f"{seconds:6.1f} s", "green")
        self.console.print(Text.assemble(state, f"  {step.title}"))

    def say(self, text: str) -> None:
        """A line of its own."""
        self.console.print(text, soft_wrap=True)

    def _lines(self) -> Group:
        now = time.monotonic()
        lines = []
        for name, (step, start, spinner) in list(self._running.items()):
            note = f"  ({self._notes[name]})" if name in self._notes else ""
            spinner.update(text=Text(f"{now - start:4.0f} s  {step.title}{note}"))
            lines.append(spinner)
        return Group(*lines)
