"""Whether a revision that was rolled back stays rejected.

A value of the annotation `retry` lifts one rejection, that of the revision which spec asks for when the value is first seen.
All the others remember the value as spent, and so does the lifted one once it is tried: `Rejected.retry` holds the value that
does not lift an entry. The entry itself goes when the revision is promoted; what is superseded before has proved nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

from haldane.api.status import ModelDeploymentStatus, Rejected
from haldane.api.v1alpha1 import ModelDeployment
from haldane.plan.annotations import asked


def retry_token(md: ModelDeployment) -> str:
    """Value of the retry annotation; empty when it asks for nothing."""
    return asked(md, "retry")


def standing_rejection(md: ModelDeployment, status: ModelDeploymentStatus, revision: str) -> Rejected | None:
    """The entry that keeps `revision` from being tried; None when there is none, a retry lifts it, or it is being tried.

    Taking the annotation away is no new token: a tool that re-applies the manifest from git must not start a retry.
    """
    if is_tried(status, revision):
        return None
    token = retry_token(md)
    return next((r for r in reversed(status.rejected) if r.revision == revision and token in ("", r.retry)), None)


def may_be_lifted(status: ModelDeploymentStatus, revision: str) -> bool:
    """Whether `revision` is among the rejected, and not tried again already."""
    return not is_tried(status, revision) and any(r.revision == revision for r in status.rejected)


def is_tried(status: ModelDeploymentStatus, revision: str) -> bool:
    """Whether `revision` is being rolled out."""
    tried = status.candidate or status.stable
    is_forward = status.rollout.phase in ("Preparing", "Progressing", "Promoting")
    return is_forward and tried is not None and tried.revision == revision


def lifted(rejected: Sequence[Rejected], token: str, revision: str | None) -> list[Rejected]:
    """The rejections when a token asks for `revision`, or for none of them: for all the others it is spent."""
    return [r.model_copy(update={"retry": "" if r.revision == revision else token}) for r in rejected]


def without_old_tokens(md: ModelDeployment) -> ModelDeployment:
    """The object whose rejections remember a token only while its annotation stands: after that, the same asks anew."""
    if retry_token(md) or not any(r.retry for r in md.status.rejected):
        return md
    return md.model_copy(
        update={"status": md.status.model_copy(update={"rejected": lifted(md.status.rejected, "", None)})}
    )
