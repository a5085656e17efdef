"""Scenarios on a real cluster: `pytest -m e2e e2e/scenarios --cluster NAME`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any, TextIO

import pytest

from e2e.cluster.addresses import file as cluster_file
from e2e.harness.errors import HarnessError
from e2e.scenarios.scenario import name_of, timetable
from e2e.scenarios.stage import Outcome, Stage
from e2e.scenarios.timetable import Plan

OUTCOMES = pytest.StashKey[dict[str, Outcome]]()
TERMINAL = pytest.StashKey[TextIO]()

# The time until a scenario's turn comes counts for the test that waits for it; the scenario's own limit is in its plan.
_WAIT_SECONDS = 1500


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("scenarios")
    group.addoption("--cluster", default="haldane", help="name of the cluster that the scenarios run on (%(default)s)")
    group.addoption("--keep", action="store_true", help="leave the scenarios' namespaces for a look")
    group.addoption("--at-once", type=int, default=5, help="scenarios that run at the same time (%(default)s)")


def pytest_configure(config: pytest.Config) -> None:
    # What is printed while tests run is kept until one fails: people at the terminal want to see where a scenario is.
    config.stash[TERMINAL] = os.fdopen(os.dup(1), "w")


def pytest_unconfigure(config: pytest.Config) -> None:
    config.stash[TERMINAL].close()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if _is_scenario(item):
            item.add_marker(pytest.mark.timeout(_WAIT_SECONDS))


def pytest_collection_finish(session: pytest.Session) -> None:
    if any(_is_scenario(item) for item in session.items):
        # The names of test files, written without a line's end, would stand before the scenarios' lines.
        reporter: Any = session.config.pluginmanager.getplugin("terminalreporter")
        reporter.showfspath = False


@pytest.fixture(scope="session")
def stage(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """The prepared cluster, with every selected scenario on its way."""
    config = request.config
    cluster = config.getoption("--cluster", None)
    if cluster is None:
        pytest.fail("Run the scenarios by their folder: pytest -m e2e e2e/scenarios --cluster NAME", pytrace=False)
    played = Stage(
        cluster_file(cluster),
        tmp_path_factory.mktemp("manifests"),
        timetable(request.session.items),
        at_once=config.getoption("--at-once"),
        keep=config.getoption("--keep"),
        terminal=config.stash[TERMINAL],
    )
    config.stash[OUTCOMES] = played.outcomes
    try:
        try:
            played.prepare()
        except HarnessError as error:
            pytest.fail(f"The cluster could not be prepared. {error}", pytrace=False)
        yield played
    finally:
        played.close()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """A scenario's report tells its own seconds, not those that pytest waited, and what the cluster showed when it failed."""
    report: Any = yield
    outcome = item.config.stash.get(OUTCOMES, {}).get(name_of(item)) if _is_scenario(item) else None
    if outcome is not None and report.when == "call":
        report.duration = outcome.seconds
        if outcome.looks:
            report.sections.append((f"what the cluster showed in {name_of(item)}", outcome.looks))
    return report  # type: ignore[no-any-return]


@pytest.hookimpl(tryfirst=True)
def pytest_report_teststatus(report: pytest.TestReport) -> tuple[str, str, str] | None:
    if "e2e/scenarios/test_" in report.nodeid and report.when == "call":
        return report.outcome, "", report.outcome.upper()
    return None


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    outcomes = config.stash.get(OUTCOMES, {})
    if outcomes:
        terminalreporter.section("scenarios")
    for name, outcome in sorted(outcomes.items(), key=lambda pair: -pair[1].seconds):
        result = "failed" if outcome.error else "passed"
        terminalreporter.write_line(f"{result}  {outcome.seconds:6.1f} s  {name:40} {outcome.client}")


def _is_scenario(item: pytest.Item) -> bool:
    return isinstance(getattr(getattr(item, "function", None), "plan", None), Plan)
