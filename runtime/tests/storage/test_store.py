"""Digest, download and cache on a real file system, with a source that can be told to fail."""

import hashlib
import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from haldane_runtime.core.errors import LoadError, Reason
from haldane_runtime.store import download as download_module
from haldane_runtime.store import fetch as fetch_module
from haldane_runtime.store import journal as journal_module
from haldane_runtime.store.cache import Cache, source_key
from haldane_runtime.store.digest import check_relative, check_tree, file_digest, folder_digest
from haldane_runtime.store.download import download
from haldane_runtime.store.fetch import S3Options, fetch
from haldane_runtime.store.location import parse
from haldane_runtime.store.lock import try_lock
from haldane_runtime.store.source import Entry, Interrupted

NO_S3 = S3Options(None, None)


class Scripted:
    """Files in memory; each read takes the next number of `breaks` and stops after so many bytes."""

    def __init__(
        self, files: dict[str, bytes], breaks: Sequence[int | None] = (), tag: str = "t", parallel: int = 1
    ) -> None:
        self.files = files
        self.breaks = list(breaks)
        self.tag = tag
        self.parallel = parallel
        self.ranges: list[tuple[int, int | None]] = []

    def entries(self) -> list[Entry]:
        return [Entry(path, len(data), self.tag) for path, data in self.files.items()]

    @contextmanager
    def read(self, entry: Entry, start: int, end: int | None) -> Iterator[Iterator[bytes]]:
        self.ranges.append((start, end))
        yield self._chunks(self.files[entry.path][start:end], self.breaks.pop(0) if self.breaks else None)

    def _chunks(self, data: bytes, limit: int | None) -> Iterator[bytes]:
        data = data[:limit]
        yield from (data[at : at + 7] for at in range(0, len(data), 7))
        if limit is not None:
            raise Interrupted("reset by peer")


@pytest.fixture
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of 10 bytes, ranges of 30."""
    for module in (download_module, journal_module):
        monkeypatch.setattr(module, "BLOCK_BYTES", 10)
    monkeypatch.setattr(download_module, "RANGE_BYTES", 30)


def test_a_folders_digest_is_what_a_shell_computes(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    for name in ("model.onnx", "b/weights.bin", "b-1", "ä.txt", ".hidden"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "weights.bin").write_text("weights")
    (folder / "linked").symlink_to(outside)
    (folder / "model.link").symlink_to("model.onnx")
    (folder / "broken").symlink_to("nowhere")
    command = r"find -L . -type f -printf '%P\n' | LC_ALL=C sort | xargs -d '\n' sha256sum | sha256sum"
    printed = subprocess.run(command, shell=True, cwd=folder, check=True, capture_output=True, text=True)
    assert folder_digest(folder) == printed.stdout.split()[0]
    for document in ("runtime/haldane_runtime/store/digest.py", "docs/runtime.md"):
        assert command in (Path(__file__).parents[3] / document).read_text().replace("\\\\", "\\"), document


def test_a_link_that_leads_back_is_refused(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to(tmp_path)
    with pytest.raises(LoadError, match="a link to a folder above itself") as caught:
        folder_digest(tmp_path)
    assert caught.value.reason is Reason.INVALID_MODEL


@pytest.mark.parametrize("path", ["../x", "a/../x", "/x", "a//b", "a\nb", "a\\b", "./x", "\udcff"])
def test_a_path_that_leaves_the_folder_or_is_ambiguous_is_refused(path: str) -> None:
    with pytest.raises(LoadError, match="model folder holds a file"):
        check_relative(path)


@pytest.mark.parametrize(
    ("paths", "named"),
    [(["a", "a/b"], "'a' both"), (["a/b", "a/b/c/d"], "'a/b' both"), (["model.onnx", "../x"], "unusable name")],
)
def test_keys_that_cannot_lie_in_one_folder_are_refused(paths: list[str], named: str) -> None:
    with pytest.raises(LoadError, match=named) as caught:
        check_tree(paths)
    assert caught.value.reason is Reason.INVALID_MODEL


def test_a_broken_transfer_is_resumed_where_it_stopped(tmp_path: Path) -> None:
    data = bytes(range(200))
    source = Scripted({"model.onnx": data}, breaks=[70, 50])
    slept: list[float] = []
    download(source, source.entries(), tmp_path, slept.append)
    assert source.ranges == [(0, 200), (70, 200), (120, 200)]
    assert (tmp_path / "model/model.onnx").read_bytes() == data
    assert slept == [0.25, 0.25]


def test_a_transfer_without_a_tag_starts_again_and_not_forever(tmp_path: Path) -> None:
    source = Scripted({"model.onnx": b"abcdef"}, breaks=[3], tag="")
    download(source, source.entries(), tmp_path, lambda _: None)
    assert source.ranges == [(0, None), (0, None)]
    assert (tmp_path / "model/model.onnx").read_bytes() == b"abcdef"
    endless = Scripted({"model.onnx": b"abcdef"}, breaks=[3] * 100, tag="")
    with pytest.raises(LoadError, match="keeps breaking off"):
        download(endless, endless.entries(), tmp_path, lambda _: None)
    assert len(endless.ranges) == 4


def test_attempts_without_progress_end(tmp_path: Path) -> None:
    source = Scripted({"model.onnx": b"abcdef"}, breaks=[2] + [0] * 10)
    slept: list[float] = []
    with pytest.raises(LoadError, match="keeps breaking off: reset by peer") as caught:
        download(source, source.entries(), tmp_path, slept.append)
    assert caught.value.reason is Reason.STORAGE_UNREACHABLE
    assert [start for start, _ in source.ranges] == [0] + [2] * 8
    assert sum(slept) < 12


def test_a_download_that_crawls_ends_however_often_a_byte_arrives(tmp_path: Path) -> None:
    now = 0.0

    def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds

    source = Scripted({"model.onnx": bytes(1000)}, breaks=[1] * 1000)
    with pytest.raises(LoadError, match=r"keeps breaking off: reset by peer|stands still") as caught:
        download(source, source.entries(), tmp_path, sleep, lambda: now)
    assert caught.value.reason is Reason.STORAGE_UNREACHABLE
    assert 10 < now < 12


def test_what_every_connection_waits_for_in_vain_ends(tmp_path: Path) -> None:
    released = threading.Event()
    ticks = iter(range(0, 10_000, 4))

    class Silent(Scripted):
        def _chunks(self, data: bytes, limit: int | None) -> Iterator[bytes]:
            released.wait(20)
            yield b""

    source = Silent({"model.onnx": b"abc"}, parallel=4)
    with pytest.raises(LoadError, match="stands still: next to nothing arrived in 10 s"):
        download(source, source.entries(), tmp_path, lambda _: None, lambda: next(ticks))
    released.set()


@pytest.mark.usefixtures("_small_blocks")
def test_ranges_are_read_at_the_same_time_and_put_together(tmp_path: Path) -> None:
    together = threading.Barrier(4, timeout=20)

    class Meeting(Scripted):
        def _chunks(self, data: bytes, limit: int | None) -> Iterator[bytes]:
            together.wait()
            yield from super()._chunks(data, limit)

    data = bytes(range(115))
    source = Meeting({"model.onnx": data}, parallel=4)
    download(source, source.entries(), tmp_path)
    assert sorted(source.ranges, key=str) == sorted([(0, 30), (30, 60), (60, 90), (90, 115)], key=str)
    assert (tmp_path / "model/model.onnx").read_bytes() == data


@pytest.mark.usefixtures("_small_blocks")
def test_the_next_start_continues_with_the_blocks_that_are_whole(tmp_path: Path) -> None:
    files = {"a.bin": b"a" * 25, "model.onnx": b"0123456789" * 5}
    with pytest.raises(LoadError):
        download(Scripted(files, breaks=[25, 24, *[0] * 10]), Scripted(files).entries(), tmp_path, lambda _: None)
    source = Scripted(files)
    download(source, source.entries(), tmp_path, lambda _: None)
    assert source.ranges == [(20, 50)]
    assert (tmp_path / "model/model.onnx").read_bytes() == files["model.onnx"]
    # Everything is there: nothing is asked for.
    again = Scripted(files)
    download(again, again.entries(), tmp_path)
    assert again.ranges == []


@pytest.mark.usefixtures("_small_blocks")
@pytest.mark.parametrize(
    ("damage", "ranges"),
    [
        (lambda model, _: _overwrite(model, 33, b"X"), [(30, 40)]),
        (lambda model, _: os.truncate(model, 35), [(30, 50)]),
        (lambda model, _: model.unlink(), [(0, 50)]),
        (lambda _, journal: os.truncate(journal, journal.stat().st_size - 20), [(40, 50)]),
        (lambda _, journal: journal.unlink(), [(0, 50)]),
        (lambda _, journal: journal.write_bytes(b"\xff\x00 nonsense\n0 1\n0 x y\n"), [(0, 50)]),
    ],
)
def test_what_is_damaged_is_fetched_again_and_no_more(
    tmp_path: Path, damage: Callable[[Path, Path], object], ranges: list[tuple[int, int]]
) -> None:
    files = {"model.onnx": bytes(range(50))}
    download(Scripted(files), Scripted(files).entries(), tmp_path)
    damage(tmp_path / "model/model.onnx", tmp_path / "journal")
    source = Scripted(files)
    download(source, source.entries(), tmp_path)
    assert source.ranges == ranges
    assert (tmp_path / "model/model.onnx").read_bytes() == files["model.onnx"]
    again = Scripted(files)
    download(again, again.entries(), tmp_path)
    assert again.ranges == []


def _overwrite(path: Path, offset: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(data)


@pytest.mark.usefixtures("_small_blocks")
@given(
    sizes=st.lists(st.integers(0, 120), min_size=1, max_size=4),
    breaks=st.lists(st.none() | st.integers(0, 40), max_size=12),
    parallel=st.integers(1, 4),
)
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_breaks_the_files_are_right_in_the_end(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], breaks: list[int | None], parallel: int
) -> None:
    folder = tmp_path_factory.mktemp("download")
    files = {f"{number}/f": bytes((number * 7 + at) % 256 for at in range(size)) for number, size in enumerate(sizes)}
    source = Scripted(files, breaks, parallel=parallel)
    while True:
        with suppress(LoadError):
            download(source, source.entries(), folder, lambda _: None)
            break
    assert {name: (folder / "model" / name).read_bytes() for name in files} == files


def test_a_disk_without_room_is_told_before_anything_is_read(tmp_path: Path) -> None:
    source = Scripted({"model.onnx": b""})
    huge = [Entry("model.onnx", 1 << 60, "t")]
    with pytest.raises(LoadError, match=r"no room for the model: it needs 1152921504\.6 GB more") as caught:
        download(source, huge, tmp_path)
    assert caught.value.reason is Reason.LOAD_FAILED
    assert source.ranges == []


def test_publishing_twice_keeps_the_first(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    digest = hashlib.sha256(b"model").hexdigest()
    for _ in range(2):
        with cache.staging("k") as staging:
            (staging / "model").mkdir()
            (staging / "model/model.onnx").write_bytes(b"model")
            published = cache.publish(staging / "model", digest, folder=False)
    assert cache.published(digest, folder=False) == published
    assert not (tmp_path / "partial/k").exists()


def test_a_damaged_entry_of_the_cache_is_removed(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    digest = hashlib.sha256(b"model").hexdigest()
    (tmp_path / "file" / digest).mkdir(parents=True)
    (tmp_path / "file" / digest / "model.onnx").write_bytes(b"rotten")
    assert cache.published(digest, folder=False) is None
    assert not (tmp_path / "file" / digest).exists()
    assert list((tmp_path / "partial").iterdir()) == []


def test_a_staging_folder_in_use_is_not_shared(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    with cache.staging("k") as first, cache.staging("k") as second, cache.staging("k") as third:
        assert len({first, second, third}) == 3
    assert list((tmp_path / "partial").iterdir()) == []


def test_what_no_process_works_on_is_swept(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    partial = tmp_path / "partial"

    def leave(key: str, age: float = 0) -> None:
        with suppress(KeyboardInterrupt), cache.staging(key) as folder:
            (folder / "journal").touch()
            os.utime(folder / "journal", (time.time() - age, time.time() - age))
            raise KeyboardInterrupt

    leave("other-fresh")
    leave("another-old", age=25 * 3600)
    leave("same-before")
    (partial / "same-unlocked").mkdir()
    with cache.staging("same-inuse"), cache.staging("same-now"):
        pass
    assert {path.name for path in partial.iterdir()} == {"other-fresh", "other-fresh.lock"}


def test_a_lock_is_not_taken_on_a_file_that_its_holder_has_removed(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    first = try_lock(path)
    assert first is not None
    assert try_lock(path) is None
    first.release(remove=True)
    second = try_lock(path)
    assert second is not None
    assert try_lock(path) is None
    second.release(remove=False)


def test_the_source_key_changes_with_the_content() -> None:
    entry = Entry("model.onnx", 3, "t1")
    assert source_key("u", [entry]) != source_key("u", [Entry("model.onnx", 3, "t2")])
    assert source_key("u", [entry]) == source_key("u", [entry])


def test_a_local_model_is_used_where_it_lies(models: Any, tmp_path: Path) -> None:
    path = models.double()
    for uri, digest in ((f"file://{path}", file_digest(path)), (f"file://{path.parent}/", folder_digest(path.parent))):
        fetched = fetch(parse(uri), digest, tmp_path / "absent", NO_S3)
        assert (fetched.path, fetched.digest) == (path, digest)


def test_a_wrong_checksum_names_both(models: Any, tmp_path: Path) -> None:
    path = models.double()
    with pytest.raises(LoadError) as caught:
        fetch(parse(f"file://{path}"), "0" * 64, tmp_path, NO_S3)
    assert caught.value.reason is Reason.CHECKSUM_MISMATCH
    assert file_digest(path) in caught.value.message
    assert "0" * 64 in caught.value.message


def test_missing_local_models_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / "other/net.onnx").touch()
    for name, message in (
        ("absent/", "does not exist"),
        ("absent.onnx", "does not exist"),
        ("empty/", "has no model.onnx; it is empty"),
        ("other/", "has no model.onnx; it holds net.onnx"),
        ("other/net.onnx/", "does not exist"),
    ):
        with pytest.raises(LoadError, match=message) as caught:
            fetch(parse(f"file://{tmp_path}/{name}"), None, tmp_path, NO_S3)
        assert caught.value.reason is Reason.MODEL_NOT_FOUND


@pytest.mark.parametrize("scan_bytes", [1, 7, 64, 1 << 20])
def test_a_lone_file_with_external_weights_is_refused(
    models: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scan_bytes: int
) -> None:
    monkeypatch.setattr(fetch_module, "SCAN_BYTES", scan_bytes)
    alone = models.double("alone")
    assert fetch(parse(f"file://{alone}"), None, tmp_path, NO_S3).path == alone
    path = models.external("lone", "weights.bin")
    with pytest.raises(LoadError, match="give the URI of the folder") as caught:
        fetch(parse(f"file://{path}"), None, tmp_path, NO_S3)
    assert caught.value.reason is Reason.INVALID_MODEL
    assert fetch(parse(f"file://{path.parent}/"), None, tmp_path, NO_S3).path == path
