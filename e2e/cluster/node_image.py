"""The node image for machines that no registry serves: Debian, Kubernetes, and the control plane's images inside."""

from typing import IO

from e2e.cluster import containers, debian, load, oci, paths, programs, versions
from e2e.cluster.containers import Image
from e2e.cluster.oci import ProgramImage
from e2e.cluster.programs import Program
from e2e.cluster.shell import Shell, ask

REPOSITORY = "haldane.local"
"""The registry name that kubeadm is given. It does not exist: what the node does not hold cannot be mistaken for upstream's."""

FILES = tuple(
    paths.HERE / "node" / name
    for name in ("Dockerfile", "entrypoint", "kubelet-cgroup", "kubelet.service", "containerd.toml", "bridge.conflist")
)


def component(program: Program) -> ProgramImage:
    """The image of one part of the control plane: the program alone."""
    version = program.folder.rpartition("-")[2]
    return ProgramImage(f"{REPOSITORY}/{program.name}:{version}", program.path, f"/usr/local/bin/{program.name}")


def proxy() -> Image:
    """kube-proxy's image, which needs a system around it: the program calls iptables and its kin."""
    dockerfile = paths.HERE / "dockerfiles" / "kube-proxy.Dockerfile"
    parts = (debian.base().key, dockerfile, programs.KUBE_PROXY.folder)
    return Image(f"{REPOSITORY}/kube-proxy:{versions.KUBERNETES}", containers.key(*parts))


def image() -> Image:
    parts = [debian.base().key, proxy().key]
    parts += [f"{program.folder}/{program.name}" for program in (*programs.CONTROL_PLANE, *programs.NODE)]
    return Image(f"{REPOSITORY}/node:{versions.KUBERNETES}", containers.key("2", *parts, *FILES))


def make(shell: Shell) -> None:
    """Build the node image and keep it in the cache."""
    if not proxy().exists():
        shell.say(proxy().tag)
        dockerfile = paths.HERE / "dockerfiles" / "kube-proxy.Dockerfile"
        containers.build(proxy(), dockerfile, [programs.KUBE_PROXY.path], shell, {"BASE": debian.base().tag})
    made = image()
    bare = Image(f"{REPOSITORY}/node-base:{versions.KUBERNETES}", made.key)
    if not bare.exists():
        shell.say("systemd, containerd, kubelet")
        files = [*FILES[1:], *(program.path for program in programs.NODE)]
        containers.build(bare, FILES[0], files, shell, {"BASE": debian.base().tag, "KUBERNETES": versions.KUBERNETES})
    shell.say("the control plane's images")
    _preload(bare, made, shell)
    shell.say("keeping it in the cache")
    made.save(shell)


def _preload(bare: Image, made: Image, shell: Shell) -> None:
    """Run the node's containerd once, give it the images, and keep what it then holds as the finished image."""
    options = ["--privileged", "--network", "none", "--entrypoint", "containerd"]
    container = shell.output(["docker", "run", "--detach", *options, bare.tag], seconds=60).strip()
    try:
        version = ["docker", "exec", container, "ctr", "version"]
        shell.wait("containerd in the node image", lambda: ask(version) is not None, seconds=30, every=0.2)
        # Not unpacked: layers of an overlay do not nest. Each node unpacks them on its own volume as it starts.
        importer = load.ctr(container, "images", "import", "--no-unpack", "-")
        shell.feed(importer, _write_components, seconds=300)
        shell.pipe(["docker", "save", proxy().tag], importer, seconds=300)
        shell.run(["docker", "stop", "-t", "10", container], seconds=60)
        changes = ('ENTRYPOINT ["/usr/local/bin/entrypoint", "/sbin/init"]', f"LABEL {containers.KEY_LABEL}={made.key}")
        options = [word for change in changes for word in ("--change", change)]
        shell.run(["docker", "commit", *options, container, made.tag], seconds=300)
    finally:
        ask(["docker", "rm", "--force", "--volumes", container], seconds=60)


def _write_components(stream: IO[bytes]) -> None:
    with oci.Layout(stream) as layout:
        for program in programs.CONTROL_PLANE:
            layout.program(component(program))
