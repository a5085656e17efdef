"""Small rotations, zooms and shifts of an 8 x 8 image, each as one matrix.

A distorted image is `pixels @ matrix`: resampling with bilinear weights is linear in the pixels, so that it can stand in an ONNX graph as a product.
"""

from collections.abc import Sequence
from itertools import product
from typing import Final

import numpy as np
from numpy.typing import NDArray

from examples.dataset import PIXELS, SIDE

_CENTRE: Final = (SIDE - 1) / 2


def distortion(degrees: float, zoom: float, right: float, down: float) -> NDArray[np.float64]:
    """Matrix of shape [64, 64] that rotates about the centre, zooms, then shifts by pixels; what comes from outside the image is 0."""
    matrix = np.zeros((PIXELS, PIXELS))
    cosine, sine = np.cos(np.deg2rad(degrees)) / zoom, np.sin(np.deg2rad(degrees)) / zoom
    for row, column in product(range(SIDE), range(SIDE)):
        vertical, horizontal = row - _CENTRE - down, column - _CENTRE - right
        source_row = cosine * vertical - sine * horizontal + _CENTRE
        source_column = sine * vertical + cosine * horizontal + _CENTRE
        above, left = int(np.floor(source_row)), int(np.floor(source_column))
        for near_row, near_column in product((above, above + 1), (left, left + 1)):
            if 0 <= near_row < SIDE and 0 <= near_column < SIDE:
                weight = (1 - abs(source_row - near_row)) * (1 - abs(source_column - near_column))
                matrix[near_row * SIDE + near_column, row * SIDE + column] += weight
    return matrix


def grid(degrees: Sequence[float], zooms: Sequence[float], shifts: Sequence[float]) -> NDArray[np.float64]:
    """Every combination, as [combinations, 64, 64]; `shifts` (pixels) are used in both directions."""
    return np.stack([distortion(*each) for each in product(degrees, zooms, shifts, shifts)])


def random_distortions(count: int, generator: np.random.Generator) -> NDArray[np.float64]:
    """`count` mild distortions as [count, 64, 64]: up to 12 degrees, 10 % of zoom and 0.7 pixels each way."""
    return np.stack(
        [
            distortion(
                degrees=generator.uniform(-12, 12),
                zoom=generator.uniform(0.9, 1.1),
                right=generator.uniform(-0.7, 0.7),
                down=generator.uniform(-0.7, 0.7),
            )
            for _ in range(count)
        ]
    )
