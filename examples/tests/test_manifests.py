from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from examples.dataset import holdout_rows
from haldane.api.v1alpha1 import ModelDeployment

FOLDER = Path(__file__).parents[1]
VERSIONS = ["v1", "v2", "v3-slow", "v4-broken"]


def load(name: str) -> dict[str, Any]:
    """The file's first document: what is to be shown; others are what it needs."""
    document = next(yaml.safe_load_all((FOLDER / f"{name}.yaml").read_text()))
    assert isinstance(document, dict)
    return document


@pytest.mark.parametrize("name", [*VERSIONS, "quickstart", "gpu", "batching", "response-cache"])
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


def test_the_golden_request_is_a_digit_that_was_held_out() -> None:
    (golden,) = load("batching")["spec"]["model"]["golden"]["requests"]
    rows = holdout_rows()
    (known,) = np.flatnonzero((rows.pixels == np.array(golden["inputs"][0]["data"])).all(axis=1))
    assert golden["outputs"][0]["data"] == [rows.labels[known]]


def test_the_response_cache_is_the_redis_of_the_file() -> None:
    wanted, deployment, service = yaml.safe_load_all((FOLDER / "response-cache.yaml").read_text())
    host = f"{service['metadata']['name']}.{service['metadata']['namespace']}.svc:{service['spec']['ports'][0]['port']}"
    assert host in wanted["spec"]["runtime"]["responseCache"]["url"]
    assert service["spec"]["selector"].items() <= deployment["spec"]["template"]["metadata"]["labels"].items()


def test_secret_has_the_keys_that_the_models_name() -> None:
    secret = load("secret")
    assert secret["metadata"]["name"] == load("v1")["spec"]["model"]["credentialsSecret"]
    assert set(secret["stringData"]) == {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}


def test_argo_cd_syncs_a_file_of_this_folder() -> None:
    source = load("argocd-application")["spec"]["source"]
    assert source["path"] == FOLDER.name
    assert (FOLDER / source["directory"]["include"]).is_file()
