"""When connections move to a front. Pure."""

from collections.abc import Sequence

# A server below this keeps everything: a front costs each request two more steps.
SATURATED = 0.85
# Differences below this are not worth moving for.
_SLACK = 0.15


def to_move(server: float, fronts: Sequence[float], movable: int) -> list[int]:
    """How many of the server's `movable` connections each front gets now.

    `server` and `fronts` are the shares of a core that each spends, 0 to 1. Only a part of what would
    even them out moves at a time, since the effect shows only at the next look.
    """
    moves = [0] * len(fronts)
    if server < SATURATED or not fronts:
        return moves
    for index in sorted(range(len(fronts)), key=lambda index: fronts[index]):
        gap = server - fronts[index]
        if gap < _SLACK:
            break
        moves[index] = min(movable, max(1, int(movable * gap / (2 * (len(fronts) + 1)))))
        movable -= moves[index]
    return moves
