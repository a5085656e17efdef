"""A model URI, taken apart. Pure."""

from dataclasses import dataclass
from typing import Literal
from urllib.parse import unquote, urlsplit

from haldane_runtime.core.errors import LoadError, Reason

MODEL_FILE = "model.onnx"


@dataclass(frozen=True, slots=True)
class Location:
    """`scheme://host/path`; `query` is kept apart because a signed URL's query is a secret.

    `path` has no leading slash for s3 (it is a key or a prefix without a trailing slash) and is
    absolute for file and https. `folder` is True when the URI names a folder that holds
    `model.onnx` rather than one .onnx file.
    """

    scheme: Literal["s3", "https", "file"]
    host: str
    path: str
    query: str
    folder: bool

    def __str__(self) -> str:
        slash = "/" if self.scheme == "s3" else ""
        tail = "/" if self.folder and not self.path.endswith("/") else ""
        return f"{self.scheme}://{self.host}{slash}{self.path}{tail}"


def parse(uri: str) -> Location:
    """A URI whose path ends in `.onnx` is a file, any other a folder.

    Raises:
        LoadError: InvalidConfiguration, with what to write instead.
    """
    try:
        parts = urlsplit(uri)
    except ValueError as error:
        raise _wrong(uri, f"it is not a URI ({error})") from error
    folder = not parts.path.lower().endswith(".onnx")
    if parts.scheme == "s3":
        if not parts.hostname or not parts.path.strip("/"):
            raise _wrong(uri, "an s3:// URI needs a bucket and a key: s3://bucket/path/model.onnx")
        if parts.query or parts.fragment:
            raise _wrong(uri, "an s3:// URI takes no query; a '?' or '#' cannot be part of the key")
        return Location("s3", parts.netloc, parts.path.strip("/"), "", folder)
    if parts.scheme == "https":
        if not parts.hostname:
            raise _wrong(uri, "an https:// URI needs a host: https://host/path/model.onnx")
        if parts.username or parts.password:
            raise _wrong(parts.hostname, "an https:// URI must not carry a password; use a signed URL")
        if folder:
            raise _wrong(
                f"https://{parts.netloc}{parts.path}",
                "an https:// URI must name one .onnx file, because a web server cannot list a folder",
            )
        return Location("https", parts.netloc, parts.path, parts.query, False)
    if parts.scheme == "file":
        path = unquote(parts.path)
        if parts.netloc not in ("", "localhost") or not path.startswith("/") or path == "/":
            raise _wrong(uri, "a file:// URI needs an absolute path: file:///models/model.onnx")
        return Location("file", "", path.rstrip("/"), "", folder)
    if parts.scheme == "pvc":
        raise _wrong(uri, "a volume claim must be mounted: name the path where it is as file:///path")
    raise _wrong(uri, "a model URI starts with s3://, https:// or file://")


def _wrong(uri: str, advice: str) -> LoadError:
    return LoadError(Reason.INVALID_CONFIGURATION, f"HALDANE_MODEL_URI '{uri}' cannot be used: {advice}.")
