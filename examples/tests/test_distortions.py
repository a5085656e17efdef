import numpy as np
import pytest

from examples.distortions import distortion, grid


def test_no_distortion_is_the_identity() -> None:
    np.testing.assert_allclose(distortion(0, 1, 0, 0), np.eye(64))


@pytest.mark.parametrize(
    ("right", "down", "expected"), [(1, 0, (3, 4)), (0, 1, (4, 3)), (-1, -1, (2, 2)), (5, 0, None)]
)
def test_a_shift_moves_a_pixel(right: float, down: float, expected: tuple[int, int] | None) -> None:
    image = np.zeros((8, 8))
    image[3, 3] = 1
    moved = (image.reshape(64) @ distortion(0, 1, right, down)).reshape(8, 8)
    found = [tuple(place) for place in np.argwhere(moved > 0.5)]
    assert found == ([expected] if expected else [])


def test_a_quarter_turn_is_exact() -> None:
    image = np.arange(64.0).reshape(8, 8)
    turned = (image.reshape(64) @ distortion(90, 1, 0, 0)).reshape(8, 8)
    assert any(np.allclose(turned, np.rot90(image, quarter)) for quarter in (1, 3))


def test_a_grid_holds_every_combination() -> None:
    assert grid([-5, 0, 5], [1.0], [-0.5, 0.5]).shape == (12, 64, 64)
