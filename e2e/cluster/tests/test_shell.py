"""Commands: what they print lands in the log, what goes wrong is told with its end."""

import threading
from typing import IO

import pytest

from e2e.cluster.errors import ClusterError
from e2e.cluster.shell import Shell, ask, tail


@pytest.fixture
def shell() -> Shell:
    return Shell("test")


def test_output_and_log(shell: Shell) -> None:
    assert shell.output(["sh", "-c", "echo out; echo err >&2"], seconds=10) == "out\n"
    assert shell.log.read_text() == "$ sh -c 'echo out; echo err >&2'\nerr\n"


def test_environment_folder_and_input(shell: Shell) -> None:
    shell.run(["sh", "-c", "cat; echo $WORD; pwd"], seconds=10, cwd=shell.log.parent, env={"WORD": "x"}, stdin="in\n")
    assert shell.log.read_text().splitlines()[1:] == ["in", "x", str(shell.log.parent)]


def test_a_failure_shows_the_end_of_the_log(shell: Shell) -> None:
    with pytest.raises(ClusterError) as raised:
        shell.run(["sh", "-c", "seq 100; exit 3"], seconds=10)
    text = str(raised.value)
    assert "ended with status 3." in text
    assert "\n    100\n" in text
    assert "\n    50\n" not in text
    assert str(shell.log) in text


def test_a_command_that_takes_too_long_is_ended(shell: Shell) -> None:
    with pytest.raises(ClusterError, match=r"`sleep 100` took more than 0 s\."):
        shell.run(["sleep", "100"], seconds=0.1)


def test_a_missing_program_is_named(shell: Shell) -> None:
    with pytest.raises(ClusterError, match="`no-such-program` is not installed"):
        shell.run(["no-such-program"], seconds=1)
    assert ask(["no-such-program"]) is None


def test_a_wait_names_what_it_waited_for(shell: Shell) -> None:
    answers = iter([False, True])
    shell.wait("the second answer", lambda: next(answers), seconds=10, every=0)
    with pytest.raises(ClusterError, match="Waited 0 s for a miracle, in vain"):
        shell.wait("a miracle", lambda: False, seconds=0, every=0)


def test_stop_ends_what_runs_and_what_would_follow(shell: Shell) -> None:
    threading.Timer(0.1, shell.stop).start()
    with pytest.raises(ClusterError, match="status -15"):
        shell.run(["sleep", "100"], seconds=100)
    with pytest.raises(ClusterError, match="Stopped before `true`"):
        shell.run(["true"], seconds=1)


def test_feed_and_convert(shell: Shell) -> None:
    def double(source: IO[bytes], sink: IO[bytes]) -> None:
        sink.write(source.read(3) * 2)

    shell.convert(["printf", "abcdef"], ["cat"], double, seconds=10)
    assert shell.log.read_text().endswith("abcabc")
    shell.feed(["cat"], lambda stream: void(stream.write(b"!")), seconds=10)
    assert shell.log.read_text().endswith("!")


def void(_: object) -> None:
    return None


def test_the_consumers_failure_is_told_rather_than_the_broken_pipe(shell: Shell) -> None:
    def much(stream: IO[bytes]) -> None:
        stream.write(b"x" * (1 << 22))

    with pytest.raises(ClusterError, match=r"ended with status 4\.\n.*\n    full"):
        shell.feed(["sh", "-c", "echo full; exit 4"], much, seconds=10)


def test_either_end_of_a_pipe_may_fail(shell: Shell) -> None:
    shell.pipe(["echo", "through"], ["cat"], seconds=10)
    assert shell.log.read_text().endswith("through\n")
    with pytest.raises(ClusterError, match="exit 5"):
        shell.pipe(["sh", "-c", "exit 5"], ["cat"], seconds=10)
    with pytest.raises(ClusterError, match="exit 6"):
        shell.pipe(["yes"], ["sh", "-c", "exit 6"], seconds=10)


def test_the_tail_of_nothing(shell: Shell) -> None:
    assert tail(shell.log) == ""
    assert tail(shell.log.with_name("missing")) == ""
