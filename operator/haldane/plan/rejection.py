"""Whether a revision that was rolled back stays rejected."""

from __future__ import annotations

from collections.abc import Sequence

from haldane.api.status import Rejected
from haldane.api.v1alpha1 import RETRY_ANNOTATION, ModelDeployment


def retry_token(md: ModelDeployment) -> str:
    """Value of the retry annotation; empty when it is not set."""
    return md.metadata.annotations.get(RETRY_ANNOTATION, "")


def standing_rejection(md: ModelDeployment, rejected: Sequence[Rejected], revision: str) -> Rejected | None:
    """The entry that keeps `revision` from being tried; None when there is none, or a new retry token lifts it.

    Taking the annotation away is no new token: a tool that re-applies the manifest from git must not start a retry.
    """
    token = retry_token(md)
    return next((r for r in reversed(rejected) if r.revision == revision and token in ("", r.retry)), None)
