from pathlib import Path

import pytest

from haldane_runtime.core.errors import LoadError, Reason
from haldane_runtime.repository.layout import model_name, scan, stamp


def tree(root: Path, *files: str) -> Path:
    for file in files:
        path = root / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"onnx")
    return root


def found(root: Path) -> dict[str, list[tuple[str, str]]]:
    return {
        name: [(version.version, str(version.path.relative_to(root))) for version in versions]
        for name, versions in scan(root).items()
    }


@pytest.mark.parametrize(
    ("files", "models"),
    [
        (
            ["iris/1/model.onnx", "iris/2/model.onnx", "iris/10/model.onnx", "fraud/3/model.onnx"],
            {"fraud": [("3", "fraud/3")], "iris": [("1", "iris/1"), ("2", "iris/2"), ("10", "iris/10")]},
        ),
        (["iris/model.onnx", "iris/weights.bin"], {"iris": [("1", "iris")]}),
        (["iris.onnx"], {"iris": [("1", "iris.onnx")]}),
        (["iris.onnx", "iris/2/model.onnx"], {"iris": [("2", "iris/2")]}),
        (["iris/1/model.onnx", "iris/config.pbtxt", "README.md", "docs/a.md"], {"iris": [("1", "iris/1")]}),
        (["iris/1/model.onnx", "iris/2/half.tmp"], {"iris": [("1", "iris/1"), ("2", "iris/2")]}),
        (["iris/1/model.onnx", "iris/01/model.onnx", "iris/v2/model.onnx"], {"iris": [("1", "iris/1")]}),
        ([".git/1/model.onnx", "a b/1/model.onnx", "-x.onnx"], {}),
        ([], {}),
    ],
)
def test_models_and_versions_are_found_by_their_place(
    tmp_path: Path, files: list[str], models: dict[str, list[tuple[str, str]]]
) -> None:
    assert found(tree(tmp_path, *files)) == models


@pytest.mark.parametrize(
    ("files", "versions"),
    [
        (["1/model.onnx", "2/model.onnx"], [("1", "1"), ("2", "2")]),
        (["model.onnx"], [("1", ".")]),
    ],
)
def test_a_folder_of_one_model_is_a_repository_of_it(
    tmp_path: Path, files: list[str], versions: list[tuple[str, str]]
) -> None:
    root = tmp_path / "iris"
    assert found(tree(root, *files)) == {"iris": versions}


def test_a_folder_that_is_gone_is_named(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match="No such file or directory; name a folder") as caught:
        scan(tmp_path / "absent")
    assert caught.value.reason is Reason.MODEL_NOT_FOUND


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/models/iris/3/model.onnx", "iris"),
        ("/models/iris/model.onnx", "iris"),
        ("/models/iris/3", "iris"),
        ("/models/iris", "iris"),
        ("/models/iris-v2.onnx", "iris-v2"),
        ("/models/My Model (2).onnx", "My-Model-2"),
        ("/model.onnx", "model"),
        ("/3/model.onnx", "model"),
        ("/", "model"),
        ("/…", "model"),
    ],
)
def test_a_name_comes_from_the_path(path: str, name: str) -> None:
    assert model_name(Path(path)) == name


def test_a_stamp_changes_with_any_file(tmp_path: Path) -> None:
    tree(tmp_path, "1/model.onnx", "1/weights/a.bin")
    before = stamp(tmp_path / "1")
    assert stamp(tmp_path / "1") == before
    (tmp_path / "1/weights/a.bin").write_bytes(b"longer than it was")
    assert stamp(tmp_path / "1") != before
