"""Lets pytest import the tests below `operator/`, a folder that has the name of a standard library module."""

import operator
from pathlib import Path

# pytest's importlib mode names a test after its path and imports the parents first. Without a `__path__` it would take the
# standard module for a broken parent, and put the folder in its place for the whole process.
operator.__path__ = [str(Path(__file__).parent / "operator")]
