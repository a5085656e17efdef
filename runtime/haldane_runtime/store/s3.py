"""Models in S3 and what speaks its protocol. boto3 is imported here alone, and only when used."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from typing import TYPE_CHECKING, Any

import boto3
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionError,
    CredentialRetrievalError,
    HTTPClientError,
    NoCredentialsError,
    ParamValidationError,
    PartialCredentialsError,
)

from haldane_runtime.core.errors import LoadError, Reason
from haldane_runtime.store.digest import check_relative
from haldane_runtime.store.location import MODEL_FILE, Location
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

_DENIED = {
    "AccessDenied": "the credentials lack the permission, or the key does not exist and listing is not allowed",
    "AllAccessDisabled": "access to it is disabled",
    "SignatureDoesNotMatch": "the secret key is wrong (AWS_SECRET_ACCESS_KEY)",
    "InvalidAccessKeyId": "the access key is not known there (AWS_ACCESS_KEY_ID)",
    "ExpiredToken": "the session token has expired (AWS_SESSION_TOKEN)",
    "InvalidToken": "the session token is wrong (AWS_SESSION_TOKEN)",
    "RequestTimeTooSkewed": "the clock of this machine is wrong",
}
_MISSING = {
    "NoSuchBucket": "the bucket does not exist",
    "NoSuchKey": "the key does not exist",
    "NoSuchVersion": "the key does not exist",
}
_MISDIRECTED = {"PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException", "301"}


class S3Source:
    """One object, or all objects below a prefix."""

    def __init__(self, location: Location, endpoint: str | None, region: str | None) -> None:
        self._location = location
        self._endpoint = endpoint
        self._anonymous = False
        with self._errors(str(location)):
            session = boto3.session.Session()
            self._anonymous = session.get_credentials() is None
            self._client = self._connect(session, region)

    def _connect(self, session: boto3.session.Session, region: str | None) -> "S3Client":
        config = Config(
            connect_timeout=CONNECT_SECONDS,
            read_timeout=READ_SECONDS,
            retries={"mode": "standard", "total_max_attempts": ATTEMPTS},
            # A server of one's own rarely has a DNS name for every bucket.
            s3={"addressing_style": "path" if self._endpoint else "auto"},
            response_checksum_validation="when_required",
            **({"signature_version": UNSIGNED} if self._anonymous else {}),
        )
        region = region or session.region_name or "us-east-1"
        return session.client("s3", endpoint_url=self._endpoint, region_name=region, config=config)

    def entries(self) -> list[Entry]:
        """See `Source.entries`."""
        with self._errors(str(self._location)):
            return self._folder() if self._location.folder else [self._file()]

    def _file(self) -> Entry:
        bucket, key = self._location.host, self._location.path
        try:
            head = self._client.head_object(Bucket=bucket, Key=key)
        except ClientError:
            # A HEAD's error has no body, hence no code: a GET tells a wrong secret from a missing right.
            body = self._client.get_object(Bucket=bucket, Key=key)
            body["Body"].close()
            return Entry(MODEL_FILE, body["ContentLength"], body["ETag"])
        return Entry(MODEL_FILE, head["ContentLength"], head["ETag"])

    def _folder(self) -> list[Entry]:
        prefix = self._location.path + "/"
        found = []
        pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self._location.host, Prefix=prefix)
        for page in pages:
            for item in page.get("Contents", ()):
                # Consoles mark folders by empty objects whose key ends in a slash.
                if not item["Key"].endswith("/"):
                    found.append(Entry(check_relative(item["Key"][len(prefix) :]), item["Size"], item["ETag"]))
            if len(found) > MAX_FILES:
                raise LoadError(
                    Reason.INVALID_CONFIGURATION,
                    f"{self._location} holds more than {MAX_FILES} objects; give the folder of one model.",
                )
        if not found:
            raise LoadError(Reason.MODEL_NOT_FOUND, f"{self._location} does not exist: no object has that prefix.")
        return found

    def read(self, entry: Entry, offset: int) -> AbstractContextManager[Iterator[bytes]]:
        """See `Source.read`."""
        return self._read(entry, offset)

    @contextmanager
    def _read(self, entry: Entry, offset: int) -> Iterator[Iterator[bytes]]:
        location = self._location
        key = f"{location.path}/{entry.path}" if location.folder else location.path
        options: dict[str, Any] = {"IfMatch": entry.tag} if entry.tag else {}
        if offset:
            options["Range"] = f"bytes={offset}-"
        with self._errors(f"s3://{location.host}/{key}"):
            body = self._client.get_object(Bucket=location.host, Key=key, **options)["Body"]
        with closing(body):
            yield _chunks(body)

    @contextmanager
    def _errors(self, what: str) -> Iterator[None]:
        where = self._endpoint or "the S3 endpoint"
        try:
            yield
        except ClientError as error:
            raise self._refused(what, where, error) from error
        except (ConnectionError, HTTPClientError) as error:
            raise LoadError(
                Reason.STORAGE_UNREACHABLE, f"{where} cannot be reached for {what}: {_line(error)}."
            ) from error
        except (ParamValidationError, ValueError) as error:
            raise LoadError(Reason.INVALID_CONFIGURATION, f"{what} cannot be asked for: {_line(error)}.") from error
        except (CredentialRetrievalError, NoCredentialsError, PartialCredentialsError) as error:
            raise LoadError(Reason.ACCESS_DENIED, f"{what} cannot be read: {_line(error)}.") from error
        except BotoCoreError as error:
            raise LoadError(Reason.LOAD_FAILED, f"{what} cannot be read: {_line(error)}.") from error

    def _refused(self, what: str, where: str, error: ClientError) -> LoadError:
        code = error.response.get("Error", {}).get("Code", "")
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        if code == "PreconditionFailed" or status == 412:
            return Replaced(what)
        if code in _MISSING or status == 404:
            return LoadError(Reason.MODEL_NOT_FOUND, f"{what} does not exist: {_MISSING.get(code, code)}.")
        if code in _MISDIRECTED:
            return LoadError(
                Reason.INVALID_CONFIGURATION, f"{what} lies in another region; set HALDANE_S3_REGION ({_line(error)})."
            )
        if code in _DENIED or status in (401, 403):
            hint = " (no credentials were given: set AWS_ACCESS_KEY_ID)" if self._anonymous else ""
            meaning = _DENIED.get(code, "the credentials lack the permission")
            return LoadError(Reason.ACCESS_DENIED, f"{where} refused {what} with {code}: {meaning}{hint}.")
        if status >= 500 or code in ("SlowDown", "RequestTimeout"):
            return LoadError(Reason.STORAGE_UNREACHABLE, f"{where} answered {status} {code} for {what}.")
        return LoadError(Reason.LOAD_FAILED, f"{where} answered {status} for {what}: {_line(error)}.")


def _chunks(body: "StreamingBody") -> Iterator[bytes]:
    try:
        yield from body.iter_chunks(CHUNK_BYTES)
    except (BotoCoreError, OSError) as error:
        raise Interrupted(_line(error)) from error


def _line(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".")
