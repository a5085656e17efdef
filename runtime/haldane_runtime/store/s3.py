"""Models in S3 and what speaks its protocol. boto3 is imported here and in `s3errors` alone, and only when used."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from typing import TYPE_CHECKING, Any, cast

import boto3
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import ClientError
from urllib3.exceptions import HTTPError

from haldane_runtime.core.errors import LoadError, Reason
from haldane_runtime.store.cause import cause
from haldane_runtime.store.digest import check_relative
from haldane_runtime.store.location import MODEL_FILE, Location
from haldane_runtime.store.s3errors import S3Errors
from haldane_runtime.store.source import CHUNK_BYTES, Entry, Interrupted, Replaced

if TYPE_CHECKING:
    from botocore.response import StreamingBody
    from mypy_boto3_s3 import S3Client

# Three attempts of 2.5 s each, with at most 3 s of back-off between them: an endpoint that is down is
# named within 15 s of the process's start, which itself takes two.
CONNECT_SECONDS = 2.5
READ_SECONDS = 2.5
ATTEMPTS = 3
MAX_FILES = 10_000
# One connection rarely gets more than 100 MB/s from an object storage; memory is a block and a socket each.
CONNECTIONS = 8


class S3Source:
    """One object, or all objects below a prefix."""

    parallel = CONNECTIONS

    def __init__(self, location: Location, endpoint: str | None, region: str | None) -> None:
        self._location = location
        self._errors = S3Errors(endpoint)
        with self._errors.named(str(location)):
            session = boto3.session.Session()
            self._errors = S3Errors(endpoint, anonymous=session.get_credentials() is None)
            region = region or session.region_name or "us-east-1"
            self._client = self._connect(session, endpoint, region, ATTEMPTS)
            # A download decides itself how often to ask again, by what the other ranges bring.
            self._ranges = self._connect(session, endpoint, region, 1)

    def _connect(self, session: boto3.session.Session, endpoint: str | None, region: str, attempts: int) -> "S3Client":
        config = Config(
            connect_timeout=CONNECT_SECONDS,
            read_timeout=READ_SECONDS,
            retries={"mode": "standard", "total_max_attempts": attempts},
            max_pool_connections=CONNECTIONS,
            # A server of one's own rarely has a DNS name for every bucket.
            s3={"addressing_style": "path" if endpoint else "auto"},
            response_checksum_validation="when_required",
            **({"signature_version": UNSIGNED} if self._errors.anonymous else {}),
        )
        return session.client("s3", endpoint_url=endpoint, region_name=region, config=config)

    def entries(self) -> list[Entry]:
        """See `Source.entries`."""
        with self._errors.named(str(self._location)):
            return self._folder() if self._location.folder else [self._file()]

    def _file(self) -> Entry:
        bucket, key = self._location.host, self._location.path
        try:
            head = self._client.head_object(Bucket=bucket, Key=key)
        except ClientError:
            # A HEAD's error has no body, hence no code: a GET tells a wrong secret from a missing right.
            body = self._client.get_object(Bucket=bucket, Key=key)
            body["Body"].close()
            return Entry(MODEL_FILE, body["ContentLength"], _tag(body))
        return Entry(MODEL_FILE, head["ContentLength"], _tag(head))

    def _folder(self) -> list[Entry]:
        prefix = self._location.path + "/"
        found = []
        pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self._location.host, Prefix=prefix)
        for page in pages:
            if "Name" not in page:
                raise self._errors.no_s3(str(self._location))
            for item in page.get("Contents", ()):
                # Consoles mark folders by empty objects whose key ends in a slash.
                if not item["Key"].endswith("/"):
                    found.append(Entry(check_relative(item["Key"][len(prefix) :]), item["Size"], _tag(item)))
            if len(found) > MAX_FILES:
                raise LoadError(
                    Reason.INVALID_CONFIGURATION,
                    f"{self._location} holds more than {MAX_FILES} objects; give the folder of one model.",
                )
        if not found:
            raise LoadError(Reason.MODEL_NOT_FOUND, f"{self._location} does not exist: no object has that prefix.")
        return found

    def read(self, entry: Entry, start: int, end: int | None) -> AbstractContextManager[Iterator[bytes]]:
        """See `Source.read`."""
        return self._read(entry, start, end)

    @contextmanager
    def _read(self, entry: Entry, start: int, end: int | None) -> Iterator[Iterator[bytes]]:
        location = self._location
        key = f"{location.path}/{entry.path}" if location.folder else location.path
        what = f"s3://{location.host}/{key}"
        options: dict[str, Any] = {"IfMatch": entry.tag} if entry.tag else {}
        if start or end is not None:
            options["Range"] = f"bytes={start}-{'' if end is None else end - 1}"
        with self._errors.named(what):
            answer = self._ranges.get_object(Bucket=location.host, Key=key, **options)
        with closing(answer["Body"]) as body:
            # Servers and proxies are about that do not know If-Match, or ranges.
            if entry.tag and _tag(answer) != entry.tag:
                raise Replaced(what)
            if start and not answer.get("ContentRange", "").startswith(f"bytes {start}-"):
                raise LoadError(
                    Reason.INVALID_CONFIGURATION, f"{what} cannot be read in ranges there; use another endpoint."
                )
            yield _chunks(body)


def _tag(answer: Any) -> str:
    """A proxy that compresses, or might, weakens the ETag of an object that it leaves as it is."""
    return str(answer.get("ETag", "")).removeprefix("W/")


def _chunks(body: "StreamingBody") -> Iterator[bytes]:
    # What has arrived at once, rather than waiting for whole chunks: a slow transfer must be seen to move.
    stream = cast("Any", body)._raw_stream
    try:
        while chunk := stream.read1(CHUNK_BYTES):
            yield chunk
    except (HTTPError, OSError) as error:
        raise Interrupted(cause(error)) from error
