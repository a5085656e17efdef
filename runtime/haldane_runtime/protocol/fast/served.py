"""What the hot path needs of the models: a `DataPlane` has it, and so has a front's view of one in another process."""

from typing import Any, Protocol

from haldane_runtime.core.intake import Intake
from haldane_runtime.core.types import InferRequest, ServedModel
from haldane_runtime.core.watch import Watch
from haldane_runtime.scheduling.ticket import Done


class Counter(Protocol):
    """See `ModelMetrics`."""

    def request(self, code: int, seconds: float) -> None: ...


class Served(Protocol):
    """See `ModelInstance`. What `submit` returns is only good for `cancel`."""

    @property
    def model(self) -> ServedModel: ...

    @property
    def metrics(self) -> Counter: ...

    def hold(self) -> None: ...

    def release(self) -> None: ...

    def foresee(self, nbytes: int, deadline: float, /) -> None: ...

    def admit(self, nbytes: int, deadline: float, /) -> None: ...

    def submit(self, request: InferRequest, deadline: float, done: Done, admitted: bool = False, /) -> Any: ...

    def cancel(self, ticket: Any, /) -> None: ...


class Plane(Protocol):
    """See `DataPlane`."""

    generation: int
    draining: bool

    @property
    def intake(self) -> Intake: ...

    @property
    def revision(self) -> str: ...

    @property
    def watch(self) -> Watch | None: ...

    def find(self, name: str | None, version: str | None, /) -> Served: ...
