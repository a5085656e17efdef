"""TLS towards the API server, kept to what its files say now: authorities and client certificates are renewed while we run."""

from __future__ import annotations

import logging
import os
import ssl

from kubernetes.aio.client import Configuration

logger = logging.getLogger(__name__)

_Seen = tuple[tuple[str, int, int], ...]


class Trust:
    """The official client reads the files of `configuration` once; this reads them into its `context` when they change.

    Connections that are open stay. An authority that was replaced counts until the process ends: a context cannot forget one.
    """

    def __init__(self, context: ssl.SSLContext, configuration: Configuration) -> None:
        self._context = context
        self._configuration = configuration
        self._seen = self._look()

    def refresh(self) -> None:
        """Take over what has changed; files that cannot be read now, as when they are being written, are read next time."""
        found = self._look()
        if found == self._seen:
            return
        configuration = self._configuration
        try:
            if configuration.ssl_ca_cert:
                self._context.load_verify_locations(cafile=configuration.ssl_ca_cert)
            if configuration.cert_file:
                self._context.load_cert_chain(configuration.cert_file, configuration.key_file)
        except OSError as problem:  # SSLError is one, too
            logger.warning("cannot read the certificates for the API server", extra={"reason": str(problem)})
            return
        self._seen = found

    def _look(self) -> _Seen:
        configuration = self._configuration
        return tuple(
            _stamp(path)
            for path in (configuration.ssl_ca_cert, configuration.cert_file, configuration.key_file)
            if path
        )


def _stamp(path: str) -> tuple[str, int, int]:
    try:
        found = os.stat(path)
    except OSError:
        return path, 0, 0
    return path, found.st_mtime_ns, found.st_ino
