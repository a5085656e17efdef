"""ModelDeployments that differ in a few fields."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest

Body = dict[str, Any]
MakeBody = Callable[..., Body]


@pytest.fixture(scope="session")
def model_deployment() -> MakeBody:
    """`model_deployment({"scaling.minReplicas": 2}, name="fraud")`: a minimal object with some fields of spec set.

    A value of None leaves the field out.
    """

    def made(fields: Body | None = None, name: str = "fraud") -> Body:
        spec: Body = {"model": {"uri": "s3://models/fraud"}}
        for path, value in (fields or {}).items():
            *parents, last = path.split(".")
            holder = spec
            for parent in parents:
                holder = holder.setdefault(parent, {})
            if value is None:
                del holder[last]
            else:
                holder[last] = deepcopy(value)
        return {
            "apiVersion": "haldane.dev/v1alpha1",
            "kind": "ModelDeployment",
            "metadata": {"name": name},
            "spec": spec,
        }

    return made
