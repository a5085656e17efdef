"""What `-X importtime` tells of the runtime's start."""

from bench.runtime_start import Import, own_imports, parse_imports

TOLD = """\
import time: self [us] | cumulative | imported package
import time:       250 |        250 |     numpy.exceptions
import time:    100000 |     120250 |   numpy
a warning of somebody's
"""


def test_imports_are_read_whatever_stands_between_them() -> None:
    assert list(parse_imports(TOLD)) == [Import("numpy.exceptions", 0.00025, 0.00025), Import("numpy", 0.1, 0.12025)]


def test_the_largest_imports_of_the_start_are_found() -> None:
    found = own_imports()
    assert [one.cumulative for one in found] == sorted((one.cumulative for one in found), reverse=True)
    assert {"fastapi", "numpy", "haldane_runtime.lifecycle"} <= {one.module for one in found}
