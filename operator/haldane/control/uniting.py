"""Between the passes and Prometheus: all that a user's check asks in a look is one query, where Prometheus takes it as one.

Together, it must not say less than apart. What is refused together is asked apart at once, so that each part has its own
answer, and what was not answered (an outage, or parts that are slow together: Prometheus does not always give up in time) is
tried apart at the next look. For some looks then, so that such a check neither costs a query more nor loses its answer often.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from datetime import datetime
from typing import Any, NamedTuple

from haldane.control.gathering import Gathered, Gathering
from haldane.control.ports import Answer, Unavailable
from haldane.plan.unions import Asker, Part, Union, unite

REFUSED, UNANSWERED = 20, 4
"""For how many looks a check is asked apart after its parts were refused together, or found no answer for the first time;
twice as many each time that they find none again."""
MOST = 10_000
"""Checks of which it is known that they are to be asked apart."""


class _Apart(NamedTuple):
    left: int
    """Looks at which the check is still asked apart."""
    span: int
    """How many they were."""


class Uniter:
    """Gathers the queries of users' checks for a moment.

    `ask` sends a text about an instant for a namespace; it never raises. `longest` is of a text in a URL, in characters.
    """

    def __init__(
        self, ask: Callable[[str, datetime, str], Awaitable[Answer]], gather: float, longest: int, most: int = MOST
    ) -> None:
        self._ask = ask
        self._longest = longest
        self._most = most
        self._gathering = Gathering(gather, self._errands)
        self._apart: dict[Asker, _Apart] = {}

    def ask(self, part: Part) -> asyncio.Future[Answer]:
        """The answer to come; whoever waits for it shares it with others."""
        return self._gathering.ask(part)

    def _errands(self, gathered: Gathered[Part]) -> Iterator[Coroutine[Any, Any, None]]:
        for union in unite(gathered, self._longest):
            yield self._fetch(union, gathered)

    async def _fetch(self, union: Union, gathered: Gathered[Part]) -> None:
        if len(union.parts) > 1 and self._is_apart(union.asker):
            await self._each(union, gathered)
            return
        answer = await self._ask(union.promql, union.at, union.parts[0].owner)
        if len(union.parts) > 1:
            self._note(union.asker, answer)
            if isinstance(answer, Unavailable) and answer.too_much:
                await self._each(union, gathered)
                return
        for part, own in union.split(answer).items():
            gathered[part].set_result(own)

    async def _each(self, union: Union, gathered: Gathered[Part]) -> None:
        async def one(part: Part) -> None:
            gathered[part].set_result(await self._ask(part.query, part.at, part.owner))

        await asyncio.gather(*(one(part) for part in union.parts))

    def _is_apart(self, asker: Asker) -> bool:
        known = self._apart.get(asker)
        if known is None or known.left == 0:
            return False
        self._apart[asker] = known._replace(left=known.left - 1)
        return True

    def _note(self, asker: Asker, answer: Answer) -> None:
        known = self._apart.pop(asker, None)
        if isinstance(answer, Unavailable):
            span = min(REFUSED, 2 * known.span if known else UNANSWERED)
            span = REFUSED if answer.too_much else span
            self._apart[asker] = _Apart(span, span)
            if len(self._apart) > self._most:
                del self._apart[next(iter(self._apart))]
