from pathlib import Path
from typing import Any

import pytest
import yaml

from haldane.api.v1alpha1 import ModelDeployment

FOLDER = Path(__file__).parents[1]
VERSIONS = ["v1", "v2", "v3-slow", "v4-broken"]


def load(name: str) -> dict[str, Any]:
    document = yaml.safe_load((FOLDER / f"{name}.yaml").read_text())
    assert isinstance(document, dict)
    return document


@pytest.mark.parametrize("name", [*VERSIONS, "quickstart", "gpu"])
def test_model_deployments_are_valid(name: str) -> None:
    document = load(name)
    # The API server adds these when the object is stored.
    document["metadata"] = {"namespace": "default", "uid": "0", "generation": 1} | document["metadata"]
    assert ModelDeployment.from_wire(document).spec.model.uri.startswith("s3://models/digits/")


def test_versions_differ_in_their_model_alone() -> None:
    first, *others = (load(name) for name in VERSIONS)
    for version, document in zip(VERSIONS[1:], others, strict=True):
        assert document["spec"]["model"].pop("uri") == f"s3://models/digits/{version}/model.onnx"
        assert document["spec"]["model"].pop("version") == version
        expected = load("v1")
        for key in ("uri", "version"):
            del expected["spec"]["model"][key]
        assert document == expected
    assert first["metadata"] == {"name": "digits", "namespace": "demo"}


def test_quickstart_fits_in_fifteen_lines() -> None:
    assert len((FOLDER / "quickstart.yaml").read_text().splitlines()) <= 15


def test_secret_has_the_keys_that_the_models_name() -> None:
    secret = load("secret")
    assert secret["metadata"]["name"] == load("v1")["spec"]["model"]["credentialsSecret"]
    assert set(secret["stringData"]) == {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}


def test_argo_cd_syncs_a_file_of_this_folder() -> None:
    source = load("argocd-application")["spec"]["source"]
    assert source["path"] == FOLDER.name
    assert (FOLDER / source["directory"]["include"]).is_file()
