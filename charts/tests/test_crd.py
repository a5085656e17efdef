"""The CRD that the chart carries is the generated one, and it survives an uninstall unless told otherwise."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

Manifest = dict[str, Any]
Render = Callable[..., list[Manifest]]

FILE = "haldane.dev_modeldeployments.yaml"


def definitions(manifests: list[Manifest]) -> list[Manifest]:
    return [manifest for manifest in manifests if manifest["kind"] == "CustomResourceDefinition"]


def test_the_chart_carries_the_generated_crd(chart: Path, repository: Path) -> None:
    ours, generated = chart / "files" / FILE, repository / "crds" / FILE
    assert ours.read_bytes() == generated.read_bytes(), "run `make crds`: it writes both files"


def test_nothing_is_lost_or_rounded_on_the_way_through_helm(chart: Path, render: Render) -> None:
    (made,) = definitions(render())
    added = made["metadata"].pop("labels"), made["metadata"].pop("annotations")
    expected = yaml.safe_load((chart / "files" / FILE).read_text())
    expected["metadata"].pop("annotations", None)
    assert made == expected
    assert added[0]["app.kubernetes.io/managed-by"] == "Helm"
    assert added[1] == {"helm.sh/resource-policy": "keep"}


def test_a_crd_that_need_not_be_kept_says_nothing_of_keeping(render: Render) -> None:
    (made,) = definitions(render({"crds": {"keep": False}}))
    assert "annotations" not in made["metadata"]


@pytest.mark.parametrize("keep", [True, False])
def test_the_crd_can_be_left_to_others(render: Render, keep: bool) -> None:
    assert not definitions(render({"crds": {"install": False, "keep": keep}}))
