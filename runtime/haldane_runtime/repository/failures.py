"""Loads that failed, in the words of who has several models."""

from collections.abc import Mapping

from haldane_runtime.core.errors import LoadError

# A termination log holds 4096 bytes.
_MOST_TOLD = 8


def titled(name: str, version: str) -> str:
    """`version` is empty when only the load would have told it."""
    return f"model '{name}' version {version}" if version else f"model '{name}'"


def together(failures: Mapping[tuple[str, str], LoadError]) -> LoadError:
    """All of them, at least one, by name and version, with the reason of the first."""
    first, *_ = failures.values()
    told = [
        f"The {titled(*key)} could not be loaded: {error.message}" for key, error in list(failures.items())[:_MOST_TOLD]
    ]
    if (more := len(failures) - len(told)) > 0:
        told.append(f"The log names {more} more.")
    return LoadError(first.reason, " ".join(told))
