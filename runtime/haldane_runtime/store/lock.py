"""A file that one living process holds."""

import fcntl
import os
from pathlib import Path


class FileLock:
    """Held until `release`, or until the process ends, however it ends."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self._path = path
        self._descriptor = descriptor

    def release(self, remove: bool) -> None:
        if remove:
            self._path.unlink(missing_ok=True)
        os.close(self._descriptor)


def try_lock(path: Path) -> FileLock | None:
    """None when another process (or another part of this one) holds it, or the file system knows no locks."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Its last holder may have removed it after it was opened here: then somebody else locks a newer one.
            if os.fstat(descriptor).st_ino == path.stat().st_ino:
                return FileLock(path, descriptor)
        except FileNotFoundError:
            pass
        except OSError:
            os.close(descriptor)
            return None
        os.close(descriptor)
