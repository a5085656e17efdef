"""Bringing local images into a node's containerd, and knowing which are there already."""

from collections.abc import Iterable

from e2e.cluster import containers
from e2e.cluster.errors import ClusterError
from e2e.cluster.shell import Shell, ask

LABEL = "haldane.dev/image-id"
"""containerd's label with Docker's ID of the image. An import replaces an image with its labels, so it can never be stale."""

MANAGED = "io.cri-containerd.image=managed"
"""The label by which containerd's Kubernetes side says that it has taken notice of an image."""

LOAD_SECONDS = 300


def reference(tag: str) -> str:
    """The full name of an image, as containerd and kubelet write it: `docker.io/library/traefik:v3` for `traefik:v3`."""
    name, colon, version = tag.rpartition(":")
    if not colon or "/" in version:
        name, version = tag, "latest"
    first, slash, _ = name.partition("/")
    if not slash:
        name = f"docker.io/library/{name}"
    elif "." not in first and ":" not in first and first != "localhost":
        name = f"docker.io/{name}"
    return f"{name}:{version}"


def listed(text: str) -> dict[str, dict[str, str]]:
    """The labels of each image in what `ctr images list` prints: a table whose last column is `key=value,key=value`."""
    images = {}
    for line in text.splitlines()[1:]:
        fields = line.split()
        if len(fields) >= 2:
            pairs = [pair.partition("=") for pair in fields[-1].split(",") if "=" in pair]
            images[fields[0]] = {key: value for key, _, value in pairs}
    return images


def _ctr(node: str, *words: str) -> list[str]:
    return ["docker", "exec", "-i", node, "ctr", "--namespace", "k8s.io", "images", *words]


def _labels(node: str) -> dict[str, dict[str, str]]:
    return listed(ask(_ctr(node, "list")) or "")


def absent(node: str, tags: Iterable[str]) -> list[str]:
    """The images that the node lacks or has in another state than Docker.

    Raises ClusterError when Docker has no image of one of the names.
    """
    held = _labels(node)
    missing = []
    for tag in tags:
        identity = containers.image_id(tag)
        if not identity:
            raise ClusterError(f"Docker has no image {tag}: build it first (docker image ls shows what there is).")
        if held.get(reference(tag), {}).get(LABEL) != identity:
            missing.append(tag)
    return missing


def load(node: str, tags: Iterable[str], shell: Shell) -> None:
    """Import the images that are absent."""
    missing = absent(node, tags)
    if not missing:
        return
    shell.say(", ".join(missing))
    shell.pipe(["docker", "save", *missing], _ctr(node, "import", "-"), seconds=LOAD_SECONDS)

    def noticed() -> bool:
        held = _labels(node)
        key, _, value = MANAGED.partition("=")
        return all(held.get(reference(tag), {}).get(key) == value for tag in missing)

    # Only then: its own labelling would wipe ours out.
    shell.wait("containerd to take notice of the images", noticed, seconds=30, every=0.1)
    for tag in missing:
        shell.run(_ctr(node, "label", reference(tag), f"{LABEL}={containers.image_id(tag)}"), seconds=20)
