"""The steps from an empty machine to a cluster with its add-ons, in the order in which they pay off."""

from collections.abc import Callable
from functools import partial

from e2e.cluster import add_ons, addresses, containers, debian, kind, node_image, programs
from e2e.cluster.containers import Image
from e2e.cluster.programs import Program
from e2e.cluster.record import Record
from e2e.cluster.shell import Shell, ask
from e2e.cluster.steps import Step

COMPILE = "compile"
"""The lane of the Go compiler, which uses every core by itself; beside it run downloads, Docker and waiting."""


def program_step(program: Program) -> Step:
    compiled = isinstance(program, programs.GoProgram)
    what = program.folder if program.folder.startswith(program.name) else f"{program.name} of {program.folder}"
    title = f"{'Compile' if compiled else 'Fetch'} {what}"
    return Step(program.name, title, program.get, done=program.ready, lane=COMPILE if compiled else "images")


def image_step(name: str, image: Image, make: Callable[[Shell], None], needs: tuple[str, ...]) -> Step:
    return Step(name, f"Build image {image.tag}", partial(_replace, image.tag, make), needs, done=image.exists)


def _replace(tag: str, make: Callable[[Shell], None], shell: Shell) -> None:
    """Make an image and remove the one that had its name, unless a cluster still runs on it."""
    before = containers.image_id(tag)
    make(shell)
    if before and before != containers.image_id(tag):
        ask(["docker", "image", "rm", before], seconds=120)


def kept_images() -> dict[str, Image]:
    """The images that take long enough to make to be kept in the cache, by the step that makes them."""
    return {"node-image": node_image.image(), "python-image": debian.python()}


def steps(made: Record) -> list[Step]:
    """All steps for a cluster of this record; `up` runs those that are not done.

    What the control plane is made of is compiled first, so that the cluster starts while the add-ons compile.
    """
    built = made.source == "built"
    plan = [*(_building_steps() if built else [program_step(programs.KIND)])]
    create = Step(
        "cluster",
        f"Start the kind cluster {made.name}",
        partial(kind.create, made),
        ("kind", "kubectl", "node-image") if built else ("kind",),
        done=lambda: kind.runs(made.name),
    )
    fetch = Step(
        "gateway-api", "Fetch the Gateway API's CRDs", add_ons.fetch_gateway_api, done=add_ons.gateway_api().exists
    )
    crds = Step(
        "crds",
        "Apply the Gateway API's CRDs",
        partial(add_ons.apply_gateway_api, made),
        ("cluster", "gateway-api"),
        done=lambda: add_ons.current(made, "gateway-api"),
    )
    helm = Step("helm", f"Compile {programs.HELM.folder}", programs.HELM.get, done=_has_helm, lane=COMPILE)
    first, *others = [_start_step(add_on, made) for add_on in add_ons.ADD_ONS]
    plan += [create, first, fetch, crds, *others, helm]
    starts = (first.name, *(step.name for step in others))
    wait = Step(
        "add-ons", "Wait for the add-ons", partial(add_ons.finish, made), starts, done=lambda: add_ons.ready(made)
    )
    write = Step(
        "addresses",
        "Write the addresses",
        lambda _: addresses.write(made),
        ("add-ons", "helm"),
        done=lambda: addresses.written(made),
    )
    return [*plan, wait, write]


def targets(made: Record) -> list[str]:
    """What must hold at the end of `up`."""
    wanted = ["cluster", "add-ons", "helm", "addresses"]
    return [*wanted, "python-image"] if made.source == "built" else wanted


def _building_steps() -> list[Step]:
    """The programs and images that a registry would serve."""
    parts = (*programs.CONTROL_PLANE, programs.KUBE_PROXY, *programs.NODE)
    # kube-apiserver, etcd and kubectl come first: tests that need no node can start on them.
    order = dict.fromkeys(
        (*programs.API_SERVER, *parts, programs.KIND, *(add_on.program for add_on in add_ons.ADD_ONS))
    )
    return [
        *(program_step(program) for program in order),
        image_step("debian-image", debian.base(), debian.make_base, ()),
        image_step("python-image", debian.python(), debian.make_python, ("debian-image",)),
        image_step("node-image", node_image.image(), node_image.make, ("debian-image", *(part.name for part in parts))),
    ]


def _start_step(add_on: add_ons.AddOn, made: Record) -> Step:
    needs = ("cluster", "crds") if add_on.name == "traefik" else ("cluster",)
    return Step(
        f"start-{add_on.name}",
        f"Start {add_on.name}",
        partial(add_ons.start, add_on, made),
        (*needs, add_on.program.name) if made.source == "built" else needs,
        done=lambda: add_ons.current(made, add_on.name),
    )


def _has_helm() -> bool:
    return addresses.helm() != programs.HELM.path or programs.HELM.ready()


def restore_steps(coming: list[Step]) -> list[Step]:
    """Steps that give images from the cache back to the daemon, for those that would else be built by a coming step."""
    names = {step.name for step in coming}
    return [
        Step(f"restore-{name}", f"Load {image.tag} from the cache", image.restore)
        for name, image in kept_images().items()
        if name in names and image.archive.exists()
    ]
