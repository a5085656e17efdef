"""Digest, download and cache on a real file system, with a source that can be told to fail."""

import hashlib
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from haldane_runtime.core.errors import LoadError, Reason
from haldane_runtime.store.cache import Cache, source_key
from haldane_runtime.store.digest import check_relative, file_digest, folder_digest
from haldane_runtime.store.download import download
from haldane_runtime.store.fetch import S3Options, fetch
from haldane_runtime.store.location import parse
from haldane_runtime.store.source import Entry, Interrupted

NO_S3 = S3Options(None, None)


class Scripted:
    """Files in memory; each read takes the next number of `breaks` and stops after so many bytes."""

    def __init__(self, files: dict[str, bytes], breaks: list[int] | None = None, tag: str = "t") -> None:
        self.files = files
        self.breaks = breaks or []
        self.tag = tag
        self.offsets: list[int] = []

    def entries(self) -> list[Entry]:
        return [Entry(path, len(data), self.tag) for path, data in self.files.items()]

    @contextmanager
    def read(self, entry: Entry, offset: int) -> Iterator[Iterator[bytes]]:
        self.offsets.append(offset)
        yield self._chunks(self.files[entry.path][offset:], self.breaks.pop(0) if self.breaks else None)

    def _chunks(self, data: bytes, limit: int | None) -> Iterator[bytes]:
        yield data[:limit]
        if limit is not None:
            raise Interrupted("reset by peer")


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
        assert command in (Path(__file__).parents[2] / document).read_text().replace("\\\\", "\\"), document


def test_a_link_that_leads_back_is_refused(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to(tmp_path)
    with pytest.raises(LoadError, match="a link to a folder above itself") as caught:
        folder_digest(tmp_path)
    assert caught.value.reason is Reason.INVALID_MODEL


@pytest.mark.parametrize("path", ["../x", "a/../x", "/x", "a//b", "a\nb", "a\\b", "./x", "\udcff"])
def test_a_path_that_leaves_the_folder_or_is_ambiguous_is_refused(path: str) -> None:
    with pytest.raises(LoadError, match="model folder holds a file"):
        check_relative(path)


def test_a_broken_transfer_is_resumed_where_it_stopped(tmp_path: Path) -> None:
    data = bytes(range(200))
    source = Scripted({"model.onnx": data}, breaks=[70, 50])
    slept: list[float] = []
    download(source, source.entries(), tmp_path, slept.append)
    assert source.offsets == [0, 70, 120]
    assert (tmp_path / "model/model.onnx").read_bytes() == data
    assert len(slept) == 2


def test_a_transfer_without_a_tag_starts_again(tmp_path: Path) -> None:
    source = Scripted({"model.onnx": b"abcdef"}, breaks=[3], tag="")
    download(source, source.entries(), tmp_path, lambda _: None)
    assert source.offsets == [0, 0]
    assert (tmp_path / "model/model.onnx").read_bytes() == b"abcdef"


def test_attempts_without_progress_end(tmp_path: Path) -> None:
    source = Scripted({"model.onnx": b"abcdef"}, breaks=[2] + [0] * 10)
    with pytest.raises(LoadError, match="keeps breaking off: reset by peer") as caught:
        download(source, source.entries(), tmp_path, lambda _: None)
    assert caught.value.reason is Reason.STORAGE_UNREACHABLE
    assert source.offsets == [0, 2, 2]


def test_the_next_start_continues_with_what_the_last_one_left(tmp_path: Path) -> None:
    files = {"a.bin": b"a" * 10, "model.onnx": b"m" * 10}
    with pytest.raises(LoadError):
        download(Scripted(files, breaks=[10, 4, 0, 0]), Scripted(files).entries(), tmp_path, lambda _: None)
    source = Scripted(files)
    download(source, source.entries(), tmp_path, lambda _: None)
    assert source.offsets == [4]
    assert (tmp_path / "model/model.onnx").read_bytes() == files["model.onnx"]


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


def test_a_staging_folder_in_use_is_not_shared(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    with cache.staging("k") as first, cache.staging("k") as second:
        assert first != second


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


def test_a_lone_file_with_external_weights_is_refused(models: Any, tmp_path: Path) -> None:
    path = models.external("lone", "weights.bin")
    with pytest.raises(LoadError, match="give the URI of the folder") as caught:
        fetch(parse(f"file://{path}"), None, tmp_path, NO_S3)
    assert caught.value.reason is Reason.INVALID_MODEL
    assert fetch(parse(f"file://{path.parent}/"), None, tmp_path, NO_S3).path == path
