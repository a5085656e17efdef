"""The handwritten digits that scikit-learn ships, split once into training and holdout rows.

Source: E. Alpaydin and C. Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine Learning Repository, 1998.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

SIDE: Final = 8
PIXELS: Final = SIDE * SIDE
CLASSES: Final = 10
BRIGHTEST: Final = 16
HOLDOUT_SHARE: Final = 0.3
SPLIT_SEED: Final = 0


@dataclass(frozen=True)
class Rows:
    """Images and what they show.

    `pixels` is float32 of shape [rows, 64], whole grey levels from 0 to 16, row-major 8 x 8; `labels` is int64 of shape [rows], 0 to 9.
    """

    pixels: NDArray[np.float32]
    labels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)


def training_rows() -> Rows:
    """The 1,257 rows that models may learn from."""
    return _split()[0]


def holdout_rows() -> Rows:
    """The 540 rows that no model sees before it is judged on them."""
    return _split()[1]


def _split() -> tuple[Rows, Rows]:
    pixels, labels = load_digits(return_X_y=True)
    train_x, holdout_x, train_y, holdout_y = train_test_split(
        pixels.astype(np.float32),
        labels.astype(np.int64),
        test_size=HOLDOUT_SHARE,
        random_state=SPLIT_SEED,
        stratify=labels,
    )
    return Rows(train_x, train_y), Rows(holdout_x, holdout_y)
