"""The engine as the rest of the runtime sees it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from haldane_runtime.core.types import Array, ModelSignature


class Engine(Protocol):
    """A loaded model. On the CPU `run` may be called by several threads, on a GPU by one at a time; all else by any."""

    @property
    def signature(self) -> ModelSignature: ...

    @property
    def device(self) -> str:
        """cpu or gpu: where it really runs."""
        ...

    def run(self, inputs: Mapping[str, Array], outputs: Sequence[str]) -> dict[str, Array]:
        """Compute `outputs`, in that order, from validated `inputs`.

        Raises:
            RequestError: INVALID when the model's own interface refuses the inputs, MODEL_FAILED
                when the model fails on them.
        """
        ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class BatchProfile:
    """What merging requests along the first dimension would do to this model.

    `reason` is a sentence that says why it may or may not be batched. `max_rows` is the largest
    batch that still pays, 1 when the model is not batchable. `seconds` maps a number of rows to the
    measured median time of one run of so many rows, in seconds. `runs` is how many runs at once finish
    the most requests, when so many wait. `fixed_cost` says that runs on inputs of the same shapes do the same
    work whatever the values; where it was not shown, no run tells how long the next one takes.
    """

    batchable: bool
    reason: str
    max_rows: int
    seconds: Mapping[int, float]
    runs: int = 1
    fixed_cost: bool = False
