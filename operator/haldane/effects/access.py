"""How Prometheus, or what stands in front of it, lets the operator in."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from requests import PreparedRequest, Session
from requests.auth import AuthBase


class NoCredentials(Exception):
    """Credentials that cannot be read; the text says which and why."""


@dataclass(frozen=True)
class Access:
    """Files are named, not their contents: they are read for every query, because Secrets and tokens are renewed.

    Either a token or a user with a password, or neither of them.
    """

    token_file: str = ""
    username_file: str = ""
    password_file: str = ""
    ca_file: str = ""
    """Certificates in PEM that are trusted instead of the system's."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Sent with every query, for example a tenant's name."""

    def session(self) -> Session:
        """A connection that shows its credentials. Using it raises NoCredentials when they cannot be read."""
        made = Session()
        made.verify = self.ca_file or True
        made.headers.update(self.headers)
        if self.token_file:
            made.auth = _Token(self.token_file)
        elif self.username_file:
            made.auth = _Password(self.username_file, self.password_file)
        return made


OPEN = Access()
"""Nothing is asked for."""


class _Token(AuthBase):
    def __init__(self, file: str) -> None:
        self._file = file

    def __call__(self, request: PreparedRequest) -> PreparedRequest:
        request.headers["Authorization"] = f"Bearer {_content(self._file)}"
        return request


class _Password(AuthBase):
    def __init__(self, username_file: str, password_file: str) -> None:
        self._files = (username_file, password_file)

    def __call__(self, request: PreparedRequest) -> PreparedRequest:
        both = ":".join(_content(file) for file in self._files)
        request.headers["Authorization"] = f"Basic {b64encode(both.encode()).decode()}"
        return request


def _content(file: str) -> str:
    try:
        found = Path(file).read_text().strip()
    except (OSError, ValueError) as problem:
        raise NoCredentials(f"{file} cannot be read: {problem}") from problem
    if not found:
        raise NoCredentials(f"{file} is empty")
    return found
