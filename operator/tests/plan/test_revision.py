from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from haldane.api.v1alpha1 import ModelDeployment
from haldane.plan.pod_template import render
from haldane.plan.revision import (
    Revision,
    from_controller_revision,
    from_deployment,
    known_revisions,
    revision_hash,
    target,
    to_controller_revision,
)
from haldane.plan.strategic_merge import PodTemplateError
from haldane.plan.workload import deployment

Make = Callable[..., ModelDeployment]
Sample = Callable[[str], dict[str, Any]]
GOLDEN = Path(__file__).parent / "golden"
BUNDLED = "haldane/runtime:9.9.9"

# The names of running revisions. A change here means that an upgrade of the operator starts a rollout of every model
# in the world: do not edit the hashes, repair the code.
HASHES = {"minimal": "ae3d8699c9", "full": "53338a4453", "tuned": "60ebfce5fe"}


@pytest.fixture(scope="session")
def sample(minimal: dict[str, Any], full: dict[str, Any], tuned: dict[str, Any]) -> Sample:
    """A spec by its name in HASHES."""
    return {"minimal": minimal, "full": full, "tuned": tuned}.__getitem__


@pytest.mark.parametrize("case", HASHES)
def test_the_same_spec_has_the_same_name_for_ever(case: str, model_deployment: Make, sample: Sample) -> None:
    md = model_deployment(sample(case))
    assert revision_hash(md) == HASHES[case]


@pytest.mark.parametrize("case", HASHES)
def test_the_pod_template_is_the_one_we_reviewed(case: str, model_deployment: Make, sample: Sample) -> None:
    """A template that changes restarts no model, since kept ones win; but it is what users run, so it is read first."""
    made = target(model_deployment(sample(case)), BUNDLED)
    assert made.template == json.loads((GOLDEN / f"{case}.json").read_text())


def test_defaults_that_are_written_out_make_no_new_revision(model_deployment: Make, minimal: Any) -> None:
    written = {
        **minimal,
        "model": {**minimal["model"]},
        "runtime": {
            "device": "cpu",
            "limits": {"queue": 1024, "requestTimeout": "10s", "requestBytes": "64Mi"},
            "session": {},
            "batching": {},
            "grpc": {"enabled": True},
            "env": [],
        },
    }
    assert revision_hash(model_deployment(written)) == revision_hash(model_deployment(minimal))


@pytest.mark.parametrize(
    "change",
    [
        {"scaling": {"minReplicas": 5, "maxReplicas": 9}},
        {"traffic": {"host": "fraud.example.com", "ingress": {"className": "nginx"}}},
        {"rollout": {"steps": [{"weight": 50, "hold": "1m"}], "progressDeadline": "1m"}},
    ],
)
def test_scaling_traffic_and_rollout_make_no_new_revision(model_deployment: Make, change: dict[str, Any]) -> None:
    assert target(model_deployment(**change), BUNDLED) == target(model_deployment(), BUNDLED)


@pytest.mark.parametrize(
    "change",
    [
        {"model": {"uri": "s3://models/fraud/1/", "version": "1b"}},
        {"model": {"uri": "s3://models/fraud/1/", "version": "1", "sha256": "0" * 64}},
        {"runtime": {"device": "gpu"}},
        {"runtime": {"limits": {"queue": 1023}}},
        {"runtime": {"podTemplate": {"spec": {"hostNetwork": None}}}},
        {"runtime": {"env": [{"name": "A", "value": ""}]}},
        {"runtime": {"batching": {"maxBatchSize": 64}}},
        {"runtime": {"grpc": {"enabled": False}}},
        {"runtime": {"session": {"precision": "fp32"}}},
        {"runtime": {"limits": {"queueBytes": "256Mi"}}},
        {"runtime": {"requestLog": {"sample": "0%"}}},
    ],
)
def test_model_and_runtime_make_a_new_revision(model_deployment: Make, change: dict[str, Any]) -> None:
    assert revision_hash(model_deployment(**change)) != revision_hash(model_deployment())


def test_neither_name_nor_generation_nor_image_of_the_operator_make_a_new_revision(model_deployment: Make) -> None:
    md = model_deployment()
    later = md.model_copy(
        update={"metadata": md.metadata.model_copy(update={"generation": 99, "resource_version": "x"})}
    )
    assert target(later, "haldane/runtime:10").name == target(md, BUNDLED).name


def test_version_and_digest(model_deployment: Make, full: Any) -> None:
    named = target(model_deployment(full), BUNDLED)
    assert (named.version, named.digest) == ("2.1.0", "sha256:" + "ab" * 32)
    unnamed = target(model_deployment({"model": {"uri": "file:///m.onnx"}}), BUNDLED)
    assert (unnamed.version, unnamed.digest) == (unnamed.name, None)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)


@given(st.dictionaries(st.text(max_size=3), json_values, max_size=3))
def test_the_order_of_keys_does_not_count(model_deployment: Make, template: dict[str, Any]) -> None:
    def turned(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: turned(value[key]) for key in reversed(value)}
        return [turned(item) for item in value] if isinstance(value, list) else value

    one = model_deployment(runtime={"podTemplate": template})
    other = model_deployment(runtime={"podTemplate": turned(copy.deepcopy(template))})
    assert revision_hash(one) == revision_hash(other)
    assert len(revision_hash(one)) == 10


@pytest.mark.parametrize("case", HASHES)
def test_survives_its_controller_revision(case: str, model_deployment: Make, sample: Sample) -> None:
    md = model_deployment(sample(case))
    made = target(md, BUNDLED)
    kept = json.loads(json.dumps(to_controller_revision(md, made, 3)))
    assert kept["metadata"]["name"] == f"fraud-{made.name}"
    assert from_controller_revision(kept) == Revision(made.name, made.version, made.digest, made.template, 3)


@pytest.mark.parametrize("case", HASHES)
def test_can_be_read_back_from_its_deployment(case: str, model_deployment: Make, sample: Sample) -> None:
    md = model_deployment(sample(case))
    made = target(md, BUNDLED)
    assert from_deployment(deployment(md, made)) == made


def test_a_kept_template_wins_over_a_fresh_one(model_deployment: Make) -> None:
    md = model_deployment()
    old = target(md, "haldane/runtime:1")
    known = known_revisions([to_controller_revision(md, old, 4)], target(md, "haldane/runtime:2"))
    assert known[old.name].template == old.template
    assert known[old.name].number == 4


def test_a_new_revision_gets_the_next_number(model_deployment: Make) -> None:
    md = model_deployment()
    new = model_deployment({"model": {"uri": "s3://models/fraud/2/"}})
    known = known_revisions([to_controller_revision(md, target(md, BUNDLED), 4)], target(new, BUNDLED))
    assert sorted(revision.number for revision in known.values()) == [4, 5]
    assert known[target(new, BUNDLED).name].number == 5


def test_a_deployment_without_its_controller_revision_is_still_known(model_deployment: Make) -> None:
    old, new = model_deployment(), model_deployment({"model": {"uri": "s3://models/fraud/2/"}})
    lost = target(old, BUNDLED)
    known = known_revisions([deployment(old, lost)], target(new, BUNDLED))
    assert known[lost.name].template == lost.template
    assert sorted(revision.number for revision in known.values()) == [1, 2]


def test_labels_that_are_taken_away_cost_no_revision(model_deployment: Make) -> None:
    md = model_deployment()
    revision = target(md, BUNDLED)
    kept = to_controller_revision(md, revision, 1)
    made = deployment(md, revision)
    for child in (kept, made):
        del child["metadata"]["labels"]
    made["spec"]["template"]["spec"]["containers"][0]["name"] = "renamed"
    assert set(known_revisions([kept, made])) == {revision.name}
    assert set(known_revisions([made])) == {revision.name}


def test_the_runtime_container_cannot_be_taken_away(model_deployment: Make) -> None:
    template = {"spec": {"containers": [{"name": "runtime", "$patch": "delete"}, {"name": "other", "image": "x"}]}}
    with pytest.raises(PodTemplateError, match="takes the container runtime away, which serves the model: leave it in"):
        target(model_deployment(runtime={"podTemplate": template}), BUNDLED)


def runtime_of(md: ModelDeployment) -> dict[str, Any]:
    containers: list[dict[str, Any]] = render(md, "aaaaaaaaaa", "1", BUNDLED)["spec"]["containers"]
    return next(container for container in containers if container["name"] == "runtime")


@pytest.mark.parametrize(
    ("runtime", "resources"),
    [
        ({}, {"requests": {"cpu": "100m", "memory": "256Mi"}}),
        ({"resources": {"limits": {"cpu": 2, "memory": "1Gi"}}}, {"limits": {"cpu": "2", "memory": "1Gi"}}),
        ({"resources": {"requests": {"cpu": "1"}}}, {"requests": {"cpu": "1", "memory": "256Mi"}}),
        ({"device": "gpu"}, {"requests": {"cpu": "100m", "memory": "256Mi"}, "limits": {"nvidia.com/gpu": "1"}}),
        (
            {"device": "gpu", "resources": {"limits": {"nvidia.com/gpu": 2}}},
            {"requests": {"cpu": "100m", "memory": "256Mi"}, "limits": {"nvidia.com/gpu": "2"}},
        ),
        (
            {"device": "gpu", "resources": {"limits": {"nvidia.com/mig-1g.10gb": "1"}}},
            {"requests": {"cpu": "100m", "memory": "256Mi"}, "limits": {"nvidia.com/mig-1g.10gb": "1"}},
        ),
        (
            {"device": "gpu", "resources": {"requests": {"nvidia.com/gpu": "4"}}},
            {
                "requests": {"cpu": "100m", "memory": "256Mi", "nvidia.com/gpu": "4"},
                "limits": {"nvidia.com/gpu": "4"},
            },
        ),
    ],
)
def test_resources(model_deployment: Make, runtime: dict[str, Any], resources: dict[str, Any]) -> None:
    assert runtime_of(model_deployment(runtime=runtime))["resources"] == resources


@pytest.mark.parametrize(
    ("given", "seconds", "grace"),
    [("10s", "10", 60), ("250ms", "0.25", 60), ("1m30s", "90", 105), ("1h", "3600", 3615), ("1ms", "0.001", 60)],
)
def test_request_timeout(model_deployment: Make, given: str, seconds: str, grace: int) -> None:
    md = model_deployment(runtime={"limits": {"requestTimeout": given}})
    env = {variable["name"]: variable.get("value") for variable in runtime_of(md)["env"]}
    assert env["HALDANE_REQUEST_TIMEOUT"] == seconds
    assert render(md, "aaaaaaaaaa", "1", BUNDLED)["spec"]["terminationGracePeriodSeconds"] == grace


def test_a_gpu_pod_tolerates_the_taint_of_gpu_nodes(model_deployment: Make) -> None:
    spec = render(model_deployment(runtime={"device": "gpu"}), "aaaaaaaaaa", "1", BUNDLED)["spec"]
    assert spec["tolerations"] == [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]
    assert "tolerations" not in render(model_deployment(), "aaaaaaaaaa", "1", BUNDLED)["spec"]
