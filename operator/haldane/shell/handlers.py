"""What kopf does for Haldane: it watches. Handlers are `on.event` only, because every other kind writes to the objects."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import kopf

from haldane.control.feed import Feed
from haldane.control.ports import KINDS
from haldane.effects.login import Login

SESSION = timedelta(hours=12)


def register(feed: Feed, login: Login) -> kopf.OperatorRegistry:
    """The handlers: one login, and one watch a kind."""
    registry = kopf.OperatorRegistry()

    async def connect(**_: Any) -> kopf.ConnectionInfo:
        return await connection(login)

    async def seen(event: kopf.RawEvent, **_: Any) -> None:
        feed.take(event)

    kopf.on.login(registry=registry, id="login")(connect)
    for kind in KINDS:
        kopf.on.event(kind.group, kind.version, kind.plural, registry=registry, id=f"seen/{kind.plural}")(seen)
    return registry


async def connection(login: Login) -> kopf.ConnectionInfo:
    """The credentials as kopf takes them.

    kopf never again uses credentials equal to ones that were refused once; a refusal may pass (an API server that cannot
    reach its own store refuses everything), so the expiry makes each login differ from those before.
    """
    access = await login.access()
    return kopf.ConnectionInfo(
        server=access.server,
        ca_path=access.ca_path,
        insecure=access.insecure,
        token=access.token,
        certificate_path=access.certificate_path,
        private_key_path=access.private_key_path,
        expiration=datetime.now(UTC) + SESSION,
    )
