"""What a run costs, learned from the runs themselves. Pure."""

from collections.abc import Mapping

# A new measurement's share: a change of the machine's speed is followed within some ten runs.
_SHARE = 0.1
# Before anything has been measured an answer is taken to be this far away, in seconds.
_UNKNOWN = 0.0


class LearnedCost:
    """The seconds of one engine run by its number of rows.

    Runs of similar size share an estimate (sizes are grouped by powers of two), which follows the
    measurements as an exponentially weighted mean. A size not seen yet is judged by its nearest
    neighbour: a larger one as it is, a smaller one in proportion to the rows. So an estimate is
    too high rather than too low.
    """

    def __init__(self, seconds: Mapping[int, float] | None = None) -> None:
        # The highest estimate there is: what costs less than this does not need a closer look.
        self.worst = 0.0
        self._by_size: dict[int, float] = {}
        self._rows: dict[int, int] = {}
        for rows, measured in sorted((seconds or {}).items()):
            self.observe(rows, measured)

    def observe(self, rows: int, seconds: float) -> None:
        """Learn from one run."""
        size = rows.bit_length()
        known = self._by_size.get(size)
        self._by_size[size] = seconds if known is None else known + _SHARE * (seconds - known)
        self._rows[size] = rows
        self.worst = max(self._by_size.values())

    def predict(self, rows: int) -> float:
        """The expected seconds of a run of `rows`; 0 as long as nothing is known."""
        size = rows.bit_length()
        known = self._by_size.get(size)
        if known is not None:
            return known
        smaller = max((other for other in self._by_size if other < size), default=None)
        if smaller is not None:
            return self._by_size[smaller] * rows / max(1, self._rows[smaller])
        larger = min(self._by_size, default=None)
        return _UNKNOWN if larger is None else self._by_size[larger]

    def per_row(self, rows: int) -> float:
        """The expected seconds a row in runs of `rows`."""
        return self.predict(rows) / max(1, rows)
