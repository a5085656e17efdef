"""Log lines in logfmt: one for each decision that changed something, none for a pass that changed nothing."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime

_OWN = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}
_QUIETER = {
    # One line for each watch and each login that start as they should.
    "kopf": logging.WARNING,
    "aiohttp.access": logging.WARNING,
    "urllib3": logging.ERROR,
    "asyncio": logging.WARNING,
}


class Logfmt(logging.Formatter):
    """`time=... level=info msg="decided" key=shop/fraud phase=Progressing weight=5`."""

    def format(self, record: logging.LogRecord) -> str:
        moment = datetime.fromtimestamp(record.created, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"
        fields = {"time": moment, "level": record.levelname.lower(), "msg": record.getMessage()}
        if record.name.partition(".")[0] != "haldane":
            fields["logger"] = record.name
        fields |= {name: value for name, value in record.__dict__.items() if name not in _OWN and value is not None}
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        return " ".join(f"{name}={_quoted(str(value))}" for name, value in fields.items())


def _quoted(value: str) -> str:
    plain = value and not any(character in value for character in ' "=\n\t\\')
    return value if plain else json.dumps(value, ensure_ascii=False)


def configure(level: str) -> None:
    """Send everything to stderr, at `level` for Haldane and at warnings for the rest."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Logfmt())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("haldane").setLevel(level)
    for name, least in _QUIETER.items():
        logging.getLogger(name).setLevel(least if level != "DEBUG" else logging.INFO)
