"""What may be loaded: the one model of HALDANE_MODEL_URI, or everything in HALDANE_MODEL_REPOSITORY."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from haldane_runtime.repository.failures import titled
from haldane_runtime.repository.layout import ModelVersion, scan, stamp
from haldane_runtime.settings import Settings

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Offer:
    """One version that may be loaded, with the settings to load it by.

    `version` is empty when only the load tells it. `stamp` differs when the files do; None when
    only a load can tell.
    """

    name: str
    version: str
    settings: Settings
    stamp: object | None


# Asked anew for every load and index, since folders change while models are served. May block.
Offers = Callable[[], Mapping[str, tuple[Offer, ...]]]


def offers_of(settings: Settings) -> Offers:
    """Where `settings` say that models come from. The result raises LoadError when a repository cannot be read."""
    if settings.model_repository is None:
        one = Offer(settings.model_name, settings.model_version, settings, None)
        return lambda: {one.name: (one,)}
    return partial(_in_folder, settings.model_repository, settings)


def _in_folder(root: Path, settings: Settings) -> dict[str, tuple[Offer, ...]]:
    found = scan(root)
    return {name: tuple(_offer(name, one, settings) for one in versions) for name, versions in found.items()}


def _offer(name: str, found: ModelVersion, settings: Settings) -> Offer:
    own = replace(
        settings,
        model_uri=found.path.absolute().as_uri(),
        model_repository=None,
        model_name=name,
        model_version=found.version,
    )
    try:
        return Offer(name, found.version, own, stamp(found.path))
    except OSError as error:
        # The load will say what is wrong with it.
        log.warning("%s cannot be looked at: %s", titled(name, found.version), error)
        return Offer(name, found.version, own, None)
