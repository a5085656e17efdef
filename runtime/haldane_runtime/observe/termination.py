"""The last words of a process whose model could not be loaded."""

import json
import logging
import sys
from pathlib import Path

from haldane_runtime.core.errors import LoadError

log = logging.getLogger(__name__)

DEFAULT_TERMINATION_LOG = Path("/dev/termination-log")
# Kubernetes keeps at most 4096 bytes of a termination message.
MESSAGE_CHARACTERS = 1000


def report_failure(error: LoadError, termination_log: Path) -> None:
    """Write `{"reason", "message"}` to the termination log and to stderr.

    The default log is written only where Kubernetes has put it, never created on a machine of one's own.
    """
    text = json.dumps({"reason": str(error.reason), "message": error.message[:MESSAGE_CHARACTERS]}, ensure_ascii=False)
    print(text, file=sys.stderr, flush=True)
    if termination_log == DEFAULT_TERMINATION_LOG and not termination_log.exists():
        return
    try:
        termination_log.write_text(text)
    except OSError as failure:
        log.warning("the termination log %s cannot be written: %s", termination_log, failure.strerror)
