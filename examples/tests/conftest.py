from dataclasses import dataclass
from pathlib import Path

import pytest
from rich.console import Console

from examples.train import Trained, train


@dataclass(frozen=True)
class Output:
    folder: Path
    versions: dict[str, Trained]
    lines: str


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Output:
    """All four versions, trained once for all tests (about 10 s)."""
    folder = tmp_path_factory.mktemp("models")
    console = Console(record=True, width=200, quiet=False)
    results = train(folder, console, slow_rows=20)
    return Output(folder, {result.version: result for result in results}, console.export_text())
