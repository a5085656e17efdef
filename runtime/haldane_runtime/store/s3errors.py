"""What an S3 storage or the way to it says, as a load error with its cause and what to do."""

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionError,
    CredentialRetrievalError,
    HTTPClientError,
    NoCredentialsError,
    ParamValidationError,
    PartialCredentialsError,
    ProfileNotFound,
    SSLError,
)

from haldane_runtime.core.errors import LoadError, Reason
from haldane_runtime.store.cause import cause, chain, line
from haldane_runtime.store.source import Replaced

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
_MISDIRECTED = {"PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException", "301", "307"}
_BUSY = {"SlowDown", "RequestTimeout", "ServiceUnavailable", "InternalError", "Throttling", "RequestLimitExceeded"}


@dataclass(frozen=True, slots=True)
class S3Errors:
    """`endpoint` is the address that was given, None for Amazon's; `anonymous` when no credentials were found."""

    endpoint: str | None
    anonymous: bool = False

    @contextmanager
    def named(self, what: str) -> Iterator[None]:
        """Errors of the block as load errors about `what`, an s3:// URI.

        Raises:
            LoadError: in place of every error of botocore.
        """
        try:
            yield
        except ClientError as error:
            raise self._refused(what, error) from error
        except SSLError as error:
            raise LoadError(Reason.STORAGE_UNREACHABLE, f"{self._where} {_untrusted(error)} (for {what}).") from error
        except (ConnectionError, HTTPClientError) as error:
            raise LoadError(
                Reason.STORAGE_UNREACHABLE, f"{self._where} cannot be reached for {what}: {cause(error)}."
            ) from error
        except RecursionError as error:
            # botocore asks a storage that redirects it where the bucket lies, even when that is redirected, too.
            raise self._elsewhere(what, "it redirects every question") from error
        except ProfileNotFound as error:
            raise LoadError(Reason.INVALID_CONFIGURATION, f"{line(error)}; correct AWS_PROFILE.") from error
        except (ParamValidationError, ValueError) as error:
            raise LoadError(Reason.INVALID_CONFIGURATION, f"{what} cannot be asked for: {line(error)}.") from error
        except (CredentialRetrievalError, NoCredentialsError, PartialCredentialsError) as error:
            raise LoadError(Reason.ACCESS_DENIED, f"{what} cannot be read: {line(error)}.") from error
        except BotoCoreError as error:
            raise LoadError(Reason.LOAD_FAILED, f"{what} cannot be read: {line(error)}.") from error

    def no_s3(self, what: str) -> LoadError:
        """Something else than S3 answers there."""
        return LoadError(
            Reason.INVALID_CONFIGURATION,
            f"{self._where} does not answer as S3 does; correct HALDANE_S3_ENDPOINT (for {what}).",
        )

    def _elsewhere(self, what: str, told: str) -> LoadError:
        return LoadError(
            Reason.INVALID_CONFIGURATION,
            f"{what} lies in another region or at another endpoint; set HALDANE_S3_REGION or "
            f"HALDANE_S3_ENDPOINT ({told}).",
        )

    @property
    def _where(self) -> str:
        return self.endpoint or "the S3 endpoint"

    def _refused(self, what: str, error: ClientError) -> LoadError:
        code = error.response.get("Error", {}).get("Code", "")
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        if code == "PreconditionFailed" or status in (412, 416):
            return Replaced(what)
        if code in _MISSING or status == 404:
            meaning = _MISSING.get(code, f"{self._where} answered {code}")
            return LoadError(Reason.MODEL_NOT_FOUND, f"{what} does not exist: {meaning}.")
        if code in _MISDIRECTED or status in (301, 307):
            return self._elsewhere(what, line(error))
        if code in _DENIED or status in (401, 403):
            hint = " (no credentials were given: set AWS_ACCESS_KEY_ID)" if self.anonymous else ""
            meaning = _DENIED.get(code, "the credentials lack the permission")
            return LoadError(Reason.ACCESS_DENIED, f"{self._where} refused {what} with {code}: {meaning}{hint}.")
        if status >= 500 or code in _BUSY or status == 429:
            # An answer without a body has its status for a code.
            named = f"{status} {code}" if code != str(status) else code
            return LoadError(Reason.STORAGE_UNREACHABLE, f"{self._where} answered {named} for {what}.")
        return LoadError(Reason.LOAD_FAILED, f"{self._where} answered {status} for {what}: {line(error)}.")


def _untrusted(error: SSLError) -> str:
    for inner in chain(error):
        if isinstance(inner, ssl.SSLCertVerificationError):
            return (
                f"has a certificate that is not trusted: {inner.verify_message}; "
                "set AWS_CA_BUNDLE to the file of its authority"
            )
    if "WRONG_VERSION_NUMBER" in str(error) or "record layer failure" in str(error):
        return "does not speak TLS: write it with http://"
    return f"cannot be spoken to by TLS: {line(error)}"
