"""A model URI to files on this machine, verified."""

import logging
import shutil
from dataclasses import dataclass
from pathlib import Path

from haldane_runtime.core.errors import LoadError, Reason
from haldane_runtime.store.cache import Cache, content_digest, disk_errors, source_key
from haldane_runtime.store.digest import check_tree, file_digest, folder_digest
from haldane_runtime.store.download import download
from haldane_runtime.store.location import MODEL_FILE, Location
from haldane_runtime.store.source import Source

log = logging.getLogger(__name__)

SCAN_BYTES = 1 << 20
# How protobuf writes the key of the entry that names an external file.
_EXTERNAL_KEY = b"\n\x08location\x12"


@dataclass(frozen=True, slots=True)
class FetchedModel:
    """The .onnx file to load and the sha256 in hex of the model (see `store.digest`)."""

    path: Path
    digest: str


@dataclass(frozen=True, slots=True)
class S3Options:
    endpoint: str | None
    region: str | None


def fetch(location: Location, expected: str | None, cache_dir: Path, s3: S3Options) -> FetchedModel:
    """Fetch, verify against `expected` (sha256 in hex, or None) and publish in the cache.

    A local model is verified and used where it lies. With `expected` known and in the cache, the
    storage is not asked at all.

    Raises:
        LoadError: with the reason and what to do.
    """
    if location.scheme == "file":
        fetched = _local(location)
        _verify(location, fetched.digest, expected)
    else:
        with disk_errors(cache_dir):
            fetched = _remote(location, expected, Cache(cache_dir), s3)
    if not location.folder:
        _stands_alone(location, fetched.path)
    return fetched


def _local(location: Location) -> FetchedModel:
    path = Path(location.path)
    try:
        if not location.folder:
            return FetchedModel(path, file_digest(path))
        names = sorted(child.name for child in path.iterdir())
        if MODEL_FILE not in names:
            raise _without_model(location, names)
        return FetchedModel(path / MODEL_FILE, folder_digest(path))
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
        raise LoadError(Reason.MODEL_NOT_FOUND, f"{location} does not exist: {error.strerror}.") from error
    except PermissionError as error:
        raise LoadError(Reason.ACCESS_DENIED, f"{location} cannot be read by this user: {error.strerror}.") from error
    except OSError as error:
        raise LoadError(Reason.LOAD_FAILED, f"{location} cannot be read: {error.strerror or error}.") from error


def _without_model(location: Location, names: list[str]) -> LoadError:
    held = f"it holds {', '.join(names[:5])}" if names else "it is empty"
    return LoadError(Reason.MODEL_NOT_FOUND, f"{location} has no {MODEL_FILE}; {held}.")


def _remote(location: Location, expected: str | None, cache: Cache, s3: S3Options) -> FetchedModel:
    if expected and (known := cache.published(expected, location.folder)):
        log.info("%s is in the cache", location)
        return FetchedModel(known / MODEL_FILE, expected)
    source = _source(location, s3)
    entries = source.entries()
    names = sorted(entry.path for entry in entries)
    if MODEL_FILE not in names:
        raise _without_model(location, names)
    check_tree(names)
    key = source_key(str(location), entries)
    tagged = all(entry.tag for entry in entries)
    if tagged and (digest := cache.known_digest(key)):
        _verify(location, digest, expected)
        if known := cache.published(digest, location.folder):
            log.info("%s is in the cache", location)
            return FetchedModel(known / MODEL_FILE, digest)
    with cache.staging(key) as staging:
        download(source, entries, staging)
        staged = staging / "model"
        digest = content_digest(staged, location.folder)
        if digest != (expected or digest):
            # The next start must not trust what may have been damaged on the way.
            shutil.rmtree(staging)
        _verify(location, digest, expected)
        published = cache.publish(staged, digest, location.folder)
    if tagged:
        cache.remember(key, str(location), digest)
    return FetchedModel(published / MODEL_FILE, digest)


def _source(location: Location, s3: S3Options) -> Source:
    if location.scheme == "s3":
        # boto3 takes about half a second to import, which a model by file:// need not pay.
        from haldane_runtime.store.s3 import S3Source

        return S3Source(location, s3.endpoint, s3.region)
    from haldane_runtime.store.https import HttpsSource

    return HttpsSource(location)


def _verify(location: Location, digest: str, expected: str | None) -> None:
    if expected and digest != expected:
        raise LoadError(
            Reason.CHECKSUM_MISMATCH,
            f"{location} has the sha256 {digest}, but {expected} was expected; correct the checksum or the file.",
        )


def _stands_alone(location: Location, model: Path) -> None:
    """Refuse a lone .onnx file whose weights lie elsewhere: its checksum would not cover them."""
    if _holds(model, _EXTERNAL_KEY):
        raise LoadError(
            Reason.INVALID_MODEL,
            f"{location} keeps weights in external files; put {MODEL_FILE} and them into one folder and give "
            "the URI of the folder.",
        )


def _holds(path: Path, wanted: bytes) -> bool:
    window = b""
    with path.open("rb") as file:
        while chunk := file.read(SCAN_BYTES):
            # It may lie across two chunks.
            window = window[1 - len(wanted) :] + chunk
            if wanted in window:
                return True
    return False
