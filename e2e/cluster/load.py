"""Bringing images into a node's containerd, and knowing which are there already."""

from collections.abc import Iterable, Mapping
from functools import partial
from typing import IO

from e2e.cluster import containers, oci
from e2e.cluster.errors import ClusterError
from e2e.cluster.shell import Shell, ask

LABEL = "haldane.dev/image-id"
"""containerd's label with the identity of what was loaded. An import replaces an image with its labels, so that it cannot
tell of an older one."""

MANAGED = ("io.cri-containerd.image", "managed")
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


def ctr(node: str, *words: str) -> list[str]:
    """A command to the containerd of a container."""
    return ["docker", "exec", "-i", node, "ctr", "--namespace", "k8s.io", *words]


def _images(node: str) -> dict[str, dict[str, str]]:
    return listed(ask(ctr(node, "images", "list")) or "")


def holds(node: str, identities: Mapping[str, str]) -> bool:
    """Whether the node has these images (full name -> identity), each as it was last loaded."""
    images = _images(node)
    return all(images.get(name, {}).get(LABEL) == identity for name, identity in identities.items())


def identities(tags: Iterable[str]) -> dict[str, str]:
    """Docker's IDs of local images, by full name. Raises ClusterError for a name that Docker does not know."""
    found = {}
    for tag in tags:
        identity = containers.image_id(tag)
        if not identity:
            raise ClusterError(f"Docker has no image {tag}: build it first (docker image ls shows what there is).")
        found[reference(tag)] = identity
    return found


def load(node: str, tags: Iterable[str], shell: Shell) -> None:
    """Import local images that the node lacks or has in an older state; only layers that it lacks are sent."""
    wanted = {tag: identity for tag in tags for identity in identities([tag]).values()}
    images = _images(node)
    missing = [tag for tag, identity in wanted.items() if images.get(reference(tag), {}).get(LABEL) != identity]
    if not missing:
        return
    held = (ask(ctr(node, "content", "list", "--quiet")) or "").split()
    names = {tag: reference(tag) for tag in missing}
    names |= {name.removeprefix("docker.io/"): name for name in names.values()}
    pump = partial(oci.thinned, held=held, references=names)
    shell.convert(["docker", "save", *missing], ctr(node, "images", "import", "-"), pump, seconds=LOAD_SECONDS)
    _label(node, {reference(tag): wanted[tag] for tag in missing}, shell)


def load_program(node: str, image: oci.ProgramImage, identity: str, shell: Shell) -> None:
    """Import an image made of one program, unless the node has it."""
    if holds(node, {image.reference: identity}):
        return

    def write(stream: IO[bytes]) -> None:
        with oci.Layout(stream) as layout:
            layout.program(image)

    shell.feed(ctr(node, "images", "import", "-"), write, seconds=LOAD_SECONDS)
    _label(node, {image.reference: identity}, shell)


def _label(node: str, identities: Mapping[str, str], shell: Shell) -> None:
    key, value = MANAGED

    def noticed() -> bool:
        images = _images(node)
        return all(images.get(name, {}).get(key) == value for name in identities)

    # Only then: its own labelling would wipe ours out.
    shell.wait("containerd to take notice of the images", noticed, seconds=30, every=0.1)
    for name, identity in identities.items():
        shell.run(ctr(node, "images", "label", name, f"{LABEL}={identity}"), seconds=20)
