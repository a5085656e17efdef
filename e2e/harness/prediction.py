"""One prediction by the Open Inference Protocol: the request for a row, and what an answer says."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

VERSION_HEADER: Final = "x-haldane-version"
_EXCERPT: Final = 160


@dataclass(frozen=True)
class Answer:
    """What came back for one row.

    `version` is who answered, None when no model did (a route's own error); `label` is what it said; `failure` is a sentence when it said nothing
    that can be used.
    """

    version: str | None
    label: int | None = None
    failure: str | None = None


def request_body(pixels: NDArray[np.float32]) -> bytes:
    """The request for one row of float32 [64]. Pixels are whole numbers, and go as such to keep it short."""
    tensor = {"name": "pixels", "shape": [1, len(pixels)], "datatype": "FP32", "data": pixels.astype(int).tolist()}
    return json.dumps({"inputs": [tensor], "outputs": [{"name": "label"}]}).encode()


def read_answer(status: int, headers: Mapping[str, str], body: bytes) -> Answer:
    """What an HTTP answer says. Errors, too, name the version that made them, by header."""
    version = headers.get(VERSION_HEADER)
    if status != 200:
        return Answer(version, failure=f"{status}: {body[:_EXCERPT].decode(errors='replace').strip()}")
    try:
        answer = json.loads(body)
        (label,) = next(output["data"] for output in answer["outputs"] if output["name"] == "label")
        return Answer(version or str(answer["model_version"]), label=int(label))
    except (ValueError, KeyError, TypeError, StopIteration) as error:
        excerpt = body[:_EXCERPT].decode(errors="replace")
        return Answer(version, failure=f"200 without a label ({error!r}): {excerpt}")
