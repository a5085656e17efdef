"""What all tests share: the standard `operator` module beside the folder of that name, and laws that take no wall time."""

import operator
from pathlib import Path

from hypothesis import HealthCheck, settings

# pytest's importlib mode names a test after its path and imports the parents first. Without a `__path__` it would take the
# standard module for a broken parent, and put the folder in its place for the whole process.
operator.__path__ = [str(Path(__file__).parent / "operator")]

# How long an example takes says how busy the machine is, not whether the law holds.
settings.register_profile("unhurried", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unhurried")
