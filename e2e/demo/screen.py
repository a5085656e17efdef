"""Shows a scene: live on a terminal, as lines of a log elsewhere."""

from __future__ import annotations

from types import TracebackType

from rich.console import Console
from rich.live import Live

from e2e.demo.lines import Changes
from e2e.demo.scene import Scene
from e2e.demo.view import picture


class Screen:
    """Used as a context: the live picture is taken down at the end, the lines stay."""

    def __init__(self, console: Console, scene: Scene) -> None:
        self._console = console
        self._scene = scene
        self._changes = Changes()
        self._live = Live(console=console, auto_refresh=False, transient=True) if console.is_terminal else None

    def __enter__(self) -> Screen:
        if self._live:
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._live:
            self._live.stop()

    def show(self) -> None:
        """Show the scene as it is now."""
        if self._live:
            self._live.update(picture(self._scene), refresh=True)
            return
        for line in self._changes.lines(self._scene):
            self._console.print(f"[{self._scene.elapsed:6.1f} s] {line}", markup=False, soft_wrap=True)
