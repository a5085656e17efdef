"""Names of images, and what a node says that it holds."""

import pytest

from e2e.cluster import load


@pytest.mark.parametrize(
    ("tag", "full"),
    [
        ("traefik", "docker.io/library/traefik:latest"),
        ("traefik:v3", "docker.io/library/traefik:v3"),
        ("haldane/operator:dev", "docker.io/haldane/operator:dev"),
        ("haldane.local/python:3.11", "haldane.local/python:3.11"),
        ("localhost/a:1", "localhost/a:1"),
        ("localhost:5000/a", "localhost:5000/a:latest"),
        ("registry:5000/team/a:1", "registry:5000/team/a:1"),
    ],
)
def test_full_names(tag: str, full: str) -> None:
    assert load.reference(tag) == full


def test_the_labels_of_a_nodes_images() -> None:
    text = """\
REF                            TYPE       DIGEST     SIZE      PLATFORMS   LABELS
docker.io/haldane/a:dev        app/json   sha256:1   1.0 MiB   linux/amd64 haldane.dev/image-id=sha256:9,x=managed
haldane.local/pause:v3         app/json   sha256:2   1.0 MiB   linux/amd64 -
"""
    assert load.listed(text) == {
        "docker.io/haldane/a:dev": {"haldane.dev/image-id": "sha256:9", "x": "managed"},
        "haldane.local/pause:v3": {},
    }


def test_a_node_that_says_nothing_holds_nothing() -> None:
    assert load.listed("") == {}
