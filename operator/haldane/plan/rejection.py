"""Whether a revision that was rolled back stays rejected."""

from __future__ import annotations

from collections.abc import Sequence

from haldane.api.status import Rejected
from haldane.api.v1alpha1 import ModelDeployment
from haldane.plan.annotations import asked


def retry_token(md: ModelDeployment) -> str:
    """Value of the retry annotation; empty when it asks for nothing."""
    return asked(md, "retry")


def standing_rejection(md: ModelDeployment, rejected: Sequence[Rejected], revision: str) -> Rejected | None:
    """The entry that keeps `revision` from being tried; None when there is none, or a new retry token lifts it.

    Taking the annotation away is no new token: a tool that re-applies the manifest from git must not start a retry.
    """
    token = retry_token(md)
    return next((r for r in reversed(rejected) if r.revision == revision and token in ("", r.retry)), None)


def without_old_tokens(md: ModelDeployment) -> ModelDeployment:
    """The object whose rejections remember a token only while its annotation stands: after that, the same asks anew."""
    if retry_token(md) or not any(r.retry for r in md.status.rejected):
        return md
    rejected = [r.model_copy(update={"retry": ""}) for r in md.status.rejected]
    return md.model_copy(update={"status": md.status.model_copy(update={"rejected": rejected})})
