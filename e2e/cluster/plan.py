"""The steps from an empty machine to a cluster with its add-ons, in the order in which they pay off."""

from collections.abc import Callable

from e2e.cluster import add_ons, addresses, containers, debian, kind, load, node_image, programs
from e2e.cluster.containers import Image
from e2e.cluster.programs import Program
from e2e.cluster.record import Record
from e2e.cluster.shell import Shell
from e2e.cluster.steps import Step

COMPILE = "compile"
"""The lane of the Go compiler, which uses every core by itself; beside it run downloads, Docker and waiting."""


def program_step(program: Program) -> Step:
    compiled = isinstance(program, programs.GoProgram)
    title = f"{'Compile' if compiled else 'Fetch'} {program.folder if program.name in program.folder else program.name}"
    lane = COMPILE if compiled else "images"
    return Step(program.name, title, program.get, done=program.ready, lane=lane)


def image_step(name: str, image: Image, make: Callable[[Shell], None], needs: tuple[str, ...]) -> Step:
    return Step(name, f"Build image {image.tag}", make, needs, done=image.exists)


def built_images() -> list[Image]:
    """The images that take long enough to make to be kept in the cache."""
    return [node_image.image(), debian.python()]


def steps(made: Record) -> list[Step]:
    """All steps for a cluster of this record; `up` runs those that are not done.

    What the control plane is made of is compiled first, so that the cluster starts while the add-ons compile.
    """
    built = made.source == "built"
    names: list[Program] = [programs.KUBECTL, programs.KIND]
    if built:
        names = [*programs.API_SERVER, *programs.CONTROL_PLANE, programs.KUBE_PROXY, *programs.NODE, programs.KIND]
        names += [add_on.program for add_on in add_ons.ADD_ONS]
    plan = [program_step(program) for program in dict.fromkeys(names)]
    node_needs: tuple[str, ...] = ()
    if built:
        parts = (*programs.CONTROL_PLANE, programs.KUBE_PROXY, *programs.NODE)
        node_needs = ("node-image",)
        plan += [
            image_step("debian-image", debian.base(), debian.make_base, ()),
            image_step("python-image", debian.python(), debian.make_python, ("debian-image",)),
            image_step(
                "node-image", node_image.image(), node_image.make, ("debian-image", *(part.name for part in parts))
            ),
        ]
    plan.append(
        Step(
            "cluster",
            f"Start the kind cluster {made.name}",
            lambda shell: kind.create(made, shell),
            ("kind", "kubectl", *node_needs),
            done=lambda: kind.runs(made.name),
        )
    )
    applied = ["cluster", "gateway-api"]
    plan.append(
        Step(
            "gateway-api", "Fetch the Gateway API's CRDs", add_ons.fetch_gateway_api, done=add_ons.gateway_api().exists
        )
    )
    if built:
        for add_on in add_ons.ADD_ONS:
            plan += _add_on_steps(add_on, made)
            applied.append(f"load-{add_on.program.name}")
    plan.append(
        Step(
            "add-ons",
            "Start the add-ons",
            lambda shell: _start_add_ons(made, shell),
            tuple(applied),
            done=lambda: kind.runs(made.name) and add_ons.ready(made),
        )
    )
    plan.append(Step("helm", f"Compile {programs.HELM.folder}", programs.HELM.get, done=_has_helm, lane=COMPILE))
    plan.append(
        Step(
            "addresses",
            "Write the addresses",
            lambda _: addresses.write(made),
            ("add-ons", "helm"),
            done=lambda: addresses.written(made),
        )
    )
    return plan


def targets(made: Record) -> list[str]:
    """What must hold at the end of `up`."""
    wanted = ["cluster", "add-ons", "helm", "addresses"]
    return [*wanted, "python-image"] if made.source == "built" else wanted


def _add_on_steps(add_on: add_ons.AddOn, made: Record) -> list[Step]:
    name, image = add_on.program.name, add_on.image
    return [
        image_step(f"{name}-image", image, add_on.make, (name,)),
        Step(
            f"load-{name}",
            f"Load {image.tag} into the node",
            lambda shell: load.load(made.node, [image.tag], shell),
            (f"{name}-image", "cluster"),
            done=lambda: image.exists() and kind.runs(made.name) and not load.absent(made.node, [image.tag]),
        ),
    ]


def _start_add_ons(made: Record, shell: Shell) -> None:
    if add_ons.applied(made) != add_ons.digest(made.source):
        add_ons.apply(made, shell)
    add_ons.wait(made, shell)


def _has_helm() -> bool:
    return addresses.helm() != programs.HELM.path or programs.HELM.ready()


def restorable() -> list[Image]:
    """Images that the daemon lacks and the cache holds."""
    return [image for image in built_images() if image.archive.exists() and not image.exists()]


def restore_step(image: Image) -> Step:
    return Step(f"restore-{containers.key(image.tag)}", f"Load {image.tag} from the cache", image.restore)
