import os
from pathlib import Path

import pytest

from haldane_runtime.core.errors import LoadError, Reason
from haldane_runtime.repository.target import with_target

CACHE = {"HALDANE_CACHE_DIR": "/cache"}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for file in ("iris.onnx", "fraud/model.onnx", "repo/iris/1/model.onnx", "repo/iris/2/model.onnx", "empty/a.txt"):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_bytes(b"onnx")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def meaning(target: str, **environ: str) -> dict[str, str]:
    found = with_target(CACHE | environ, target)
    return {
        name.removeprefix("HALDANE_MODEL_").lower(): value.replace(str(Path.cwd()), "…")
        for name, value in found.items()
        if name.startswith("HALDANE_MODEL_")
    }


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("iris.onnx", {"uri": "file://…/iris.onnx", "name": "iris"}),
        ("./fraud", {"uri": "file://…/fraud", "name": "fraud"}),
        ("fraud/model.onnx", {"uri": "file://…/fraud/model.onnx", "name": "fraud"}),
        ("repo", {"repository": "…/repo"}),
        ("repo/", {"repository": "…/repo"}),
        ("repo/iris", {"repository": "…/repo/iris"}),
        ("repo/iris/2", {"uri": "file://…/repo/iris/2", "name": "iris", "version": "2"}),
        ("repo/iris/2/model.onnx", {"uri": "file://…/repo/iris/2/model.onnx", "name": "iris", "version": "2"}),
        ("s3://bucket/iris/model.onnx", {"uri": "s3://bucket/iris/model.onnx", "name": "iris"}),
        ("https://host/a/b.onnx?sig=x/y", {"uri": "https://host/a/b.onnx?sig=x/y", "name": "b"}),
    ],
)
def test_what_a_path_or_uri_means(target: str, expected: dict[str, str]) -> None:
    assert meaning(target) == expected


def test_it_stands_before_the_environment_but_a_given_name_stays() -> None:
    given = {"HALDANE_MODEL_URI": "s3://b/k.onnx", "HALDANE_MODEL_NAME": "mine", "HALDANE_MODEL_VERSION": ""}
    assert meaning("repo/iris/2", **given) == {"uri": "file://…/repo/iris/2", "name": "mine", "version": "2"}
    assert meaning("repo", HALDANE_MODEL_URI="s3://b/k.onnx") == {"repository": "…/repo"}


def test_without_a_target_the_environment_is_as_it_was() -> None:
    assert with_target({"HALDANE_MODEL_URI": "s3://b/k.onnx"}, None) == {"HALDANE_MODEL_URI": "s3://b/k.onnx"}


@pytest.mark.parametrize(("target", "words"), [("absent", "absent does not exist"), ("empty", "empty holds no model")])
def test_what_is_no_model_is_said(target: str, words: str) -> None:
    with pytest.raises(LoadError, match=words) as caught:
        with_target({}, target)
    assert caught.value.reason is Reason.MODEL_NOT_FOUND


def test_downloads_go_where_the_user_may_write(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert with_target({"HOME": "/home/ann"}, "iris.onnx")["HALDANE_CACHE_DIR"] == "/home/ann/.cache/haldane/models"
    assert with_target({"XDG_CACHE_HOME": "/c"}, "iris.onnx")["HALDANE_CACHE_DIR"] == "/c/haldane/models"
    assert with_target(CACHE, "iris.onnx")["HALDANE_CACHE_DIR"] == "/cache"
