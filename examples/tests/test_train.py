import hashlib
import json
from typing import Any

import numpy as np
import pytest
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from examples.dataset import holdout_rows, training_rows
from examples.judge import ENGINE_ERRORS, open_session
from examples.networks import broken, linear, network

VERSIONS = ["v1", "v2", "v3-slow", "v4-broken"]


def test_split_is_honest() -> None:
    learnt = {row.tobytes() for row in training_rows().pixels}
    assert not learnt & {row.tobytes() for row in holdout_rows().pixels}
    assert np.bincount(holdout_rows().labels).min() >= 50


def test_better_versions_are_better(trained: Any) -> None:
    v1, v2, v3 = (trained.versions[name].accuracy for name in ("v1", "v2", "v3-slow"))
    assert 0.85 <= v1 <= 0.95
    assert v2 >= v1 + 0.03
    assert v3 >= 0.95


def test_slow_version_is_slow_and_fits_a_small_store(trained: Any) -> None:
    slow = trained.versions["v3-slow"]
    assert slow.row_ms >= 50 * trained.versions["v2"].row_ms
    assert slow.bytes < 50e6


def test_broken_version_passes_zeros_and_refuses_real_rows(trained: Any) -> None:
    broken_version = trained.versions["v4-broken"]
    assert broken_version.refused >= 0.9 * broken_version.rows
    session = open_session(trained.folder / broken_version.path)
    for rows in (1, 8):
        labels, _ = session.run(None, {"pixels": np.zeros((rows, 64), np.float32)})
        assert labels.shape == (rows,)
    with pytest.raises(ENGINE_ERRORS, match="out of data bounds"):
        session.run(None, {"pixels": holdout_rows().pixels[:8]})


@pytest.mark.parametrize("version", VERSIONS)
def test_all_versions_have_one_signature(trained: Any, version: str) -> None:
    session = open_session(trained.folder / trained.versions[version].path)
    assert [(i.name, i.type, i.shape) for i in session.get_inputs()] == [("pixels", "tensor(float)", ["rows", 64])]
    assert [(o.name, o.type, o.shape) for o in session.get_outputs()] == [
        ("label", "tensor(int64)", ["rows"]),
        ("probabilities", "tensor(float)", ["rows", 10]),
    ]


@pytest.mark.parametrize("version", ["v1", "v2", "v3-slow"])
def test_answers_agree_with_their_probabilities_in_any_batch(trained: Any, version: str) -> None:
    session = open_session(trained.folder / trained.versions[version].path)
    pixels = holdout_rows().pixels[:3]
    labels, probabilities = session.run(None, {"pixels": pixels})
    assert labels.tolist() == probabilities.argmax(axis=1).tolist()
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-4)
    alone = np.concatenate([session.run(None, {"pixels": row[None, :]})[1] for row in pixels])
    np.testing.assert_allclose(alone, probabilities, rtol=1e-3, atol=1e-5)


def test_models_json_describes_the_files(trained: Any) -> None:
    listed = json.loads((trained.folder / "models.json").read_text())
    assert [entry["version"] for entry in listed] == VERSIONS
    for entry in listed:
        content = (trained.folder / entry["path"]).read_bytes()
        assert entry["sha256"] == hashlib.sha256(content).hexdigest()
        assert entry["bytes"] == len(content)
        assert f"accuracy {entry['accuracy']:.3f}" in trained.lines


@pytest.mark.parametrize(("version", "fit"), [("v1", linear), ("v2", network), ("v4-broken", broken)])
def test_training_again_gives_the_same_file(trained: Any, version: str, fit: Any) -> None:
    with threadpool_limits(limits=1):
        again = fit(training_rows()).SerializeToString(deterministic=True)
    assert hashlib.sha256(again).hexdigest() == trained.versions[version].sha256
