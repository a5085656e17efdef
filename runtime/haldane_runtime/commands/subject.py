"""Which models a command is about."""

import time
from collections.abc import Mapping
from dataclasses import dataclass

from haldane_runtime.core.errors import LoadError, Reason
from haldane_runtime.loading import LoadedModel, load
from haldane_runtime.repository.offers import Offer, offers_of
from haldane_runtime.repository.target import with_target
from haldane_runtime.settings import from_environment


@dataclass(frozen=True, slots=True)
class Loaded:
    """A loaded model and how long the load took, in seconds."""

    offer: Offer
    model: LoadedModel
    seconds: float


def offered(environ: Mapping[str, str], target: str | None) -> list[Offer]:
    """Every version of every model that `target`, or else the environment, means.

    Raises:
        LoadError: when it means none.
    """
    settings = from_environment(with_target(environ, target))
    return [offer for versions in offers_of(settings)().values() for offer in versions]


def only(offers: list[Offer]) -> Offer:
    """The one model that is meant, in its highest version.

    Raises:
        LoadError: InvalidConfiguration, when there are several.
    """
    names = sorted({offer.name for offer in offers})
    if len(names) > 1:
        raise LoadError(
            Reason.INVALID_CONFIGURATION,
            f"One model at a time can be measured; name one of {', '.join(names)} by its folder.",
        )
    return offers[-1]


def timed_load(offer: Offer) -> Loaded:
    """Raises: LoadError."""
    started = time.perf_counter()
    model = load(offer.settings)
    return Loaded(offer, model, time.perf_counter() - started)
