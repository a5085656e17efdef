"""The commands: each plans its steps, runs them and says what came of it."""

import contextlib
import fcntl
import functools
import json
import shutil
import time
from collections.abc import Iterator, Sequence

from e2e.cluster import (
    add_ons,
    addresses,
    containers,
    daemon,
    debian,
    host,
    kind,
    load,
    node_image,
    paths,
    plan,
    programs,
    record,
    registry,
)
from e2e.cluster.errors import ClusterError
from e2e.cluster.progress import Progress
from e2e.cluster.record import Record
from e2e.cluster.shell import Shell, ask
from e2e.cluster.steps import Step, execute, pending

LOCK_SECONDS = 3600
IMAGES = {"operator": "haldane/operator:dev", "runtime": "haldane/runtime:dev"}
"""Target of the Dockerfile -> tag."""

PYTHON_IMAGE = "python:3.11-slim-bookworm"


@contextlib.contextmanager
def _alone(progress: Progress) -> Iterator[None]:
    """Keep a second command from building the same things at the same time."""
    file = paths.home() / "cluster" / "lock"
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w") as lock:
        end, told = time.monotonic() + LOCK_SECONDS, False
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > end:
                    raise ClusterError(f"Waited {LOCK_SECONDS} s for another run to end (it holds {file}).") from None
                if not told:
                    progress.say("Another run is at work; waiting for it.")
                    told = True
                time.sleep(0.5)
        yield


def _run(steps: Sequence[Step], wanted: Sequence[str], progress: Progress) -> int:
    todo = pending(steps, wanted)
    finished = {step.name for step in steps} - {step.name for step in todo}
    execute(todo, finished, progress)
    return len(todo)


def _machine() -> list[Step]:
    """The steps that make the machine able to run containers at all."""
    needed = ["docker"] if daemon.answers() else ["docker", "dockerd", "iptables"]
    install = functools.partial(host.install, needed)
    return [
        Step("packages", "Install packages", install, done=lambda: not host.missing(needed)),
        Step("docker", "Start the Docker daemon", daemon.start, ("packages",), done=daemon.answers),
    ]


def _source() -> record.Source:
    """Upstream's images where they can be fetched and run.

    They cannot be run where root's privileges are cut: the node image made here knows how to live with that.
    """
    return "registry" if not host.withholds_privileges() and registry.reachable() else "built"


def up(name: str) -> None:
    start = time.monotonic()
    with Progress() as progress, _alone(progress):
        ran = _run(_machine(), ["docker"], progress)
        made = _recorded(name) or record.new(name, _source())
        if kind.rests(made):
            wake = Step("wake", f"Start the stopped cluster {name}", functools.partial(kind.wake, made))
            ran += _run([wake], ["wake"], progress)
            made = _recorded(name) or record.new(name, made.source)
        steps = plan.steps(made)
        restored = plan.restore_steps(pending(steps, plan.targets(made)))
        ran += _run(restored, [step.name for step in restored], progress)
        ran += _run(steps, plan.targets(made), progress)
        took = time.monotonic() - start
        progress.say(f"Cluster {name} is {'ready' if ran else 'up and ready already'} ({took:.1f} s).")
    print(json.dumps(addresses.describe(made), indent=2))


def _recorded(name: str) -> Record | None:
    """The record of a cluster, unless nothing of the cluster exists: its ports may be taken by now."""
    made = record.read(name)
    return made if made and (made.complete or containers.container_state(made.node)) else None


def down(name: str, *, everything: bool) -> None:
    """Remove the cluster; with `everything` also what was built and downloaded for clusters.

    What a running Docker daemon was started with stays, and so do installed packages. Raises ClusterError when `everything`
    is asked for and another cluster still needs it.
    """
    if everything and (others := record.others(name)):
        names = ", ".join(other.name for other in others)
        raise ClusterError(f"There are other clusters: {names}. Remove them first, or leave out --all.")
    with Progress() as progress, _alone(progress):
        made = record.read(name)
        if made:
            delete = Step("down", f"Delete the kind cluster {name}", functools.partial(kind.remove, made), ("docker",))
            _run([*_machine(), delete], ["down"], progress)
        shutil.rmtree(paths.cluster(name), ignore_errors=True)
        if everything:
            step = Step("clean", "Delete built images and downloads", _clean)
            _run([step], ["clean"], progress)
        progress.say(f"Cluster {name} is gone." if made else f"There was no cluster {name}.")


def _clean(shell: Shell) -> None:
    tags = (ask(["docker", "image", "ls", "--format", "{{.Repository}}:{{.Tag}}"]) or "").split()
    ours = [tag for tag in tags if tag.startswith(f"{node_image.REPOSITORY}/") or tag in IMAGES.values()]
    if ours:
        shell.run(["docker", "image", "rm", "--force", *ours], seconds=300)
    kept = programs.WITHIN_LIMITS.path.parent
    for folder in (paths.archives(), paths.downloads(), paths.logs(), *paths.programs().glob("*")):
        if folder != kept:
            shutil.rmtree(folder, ignore_errors=True)


def _existing(name: str) -> Record:
    made = record.read(name)
    if not made or not kind.runs(name):
        raise ClusterError(f"Cluster {name} does not run. Start it with: python -m e2e.cluster up --name {name}")
    return made


def status(name: str) -> bool:
    """Print how the cluster is; True when all of it is ready."""
    made = record.read(name)
    if not made:
        print(f"There is no cluster {name}.")
        return False
    state = containers.container_state(made.node) or "missing"
    print(f"node {made.node}: {state}")
    if state != "running":
        return False
    left = add_ons.missing(made)
    print("not ready: " + ", ".join(left) if left else "add-ons: all ready")
    for key, value in addresses.describe(made).items():
        print(f"{key}: {value}")
    return not left


def show_addresses(name: str) -> None:
    print(json.dumps(addresses.describe(_existing(name)), indent=2))


def load_images(name: str, tags: Sequence[str]) -> None:
    made = _existing(name)
    with Progress() as progress:
        _load(made, tags, progress)


def _load(made: Record, tags: Sequence[str], progress: Progress) -> None:
    if load.holds(made.node, load.identities(tags)):
        progress.say(f"The node has {', '.join(tags)} already.")
        return
    step = Step("load", f"Load {', '.join(tags)} into the node", functools.partial(load.load, made.node, tags))
    _run([step], ["load"], progress)


def images(name: str) -> None:
    """Build the project's images and load them."""
    made = _existing(name)
    base = PYTHON_IMAGE if made.source == "registry" else debian.python().tag
    with Progress() as progress:
        steps = [
            Step(f"build-{target}", f"Build {tag}", functools.partial(_build, target, tag, base))
            for target, tag in IMAGES.items()
        ]
        _run(steps, [step.name for step in steps], progress)
        _load(made, list(IMAGES.values()), progress)


def _build(target: str, tag: str, base: str, shell: Shell) -> None:
    command = ["docker", "build", "--network", "host", *containers.proxies(), "--build-arg", f"PYTHON_IMAGE={base}"]
    shell.run([*command, "--target", target, "-t", tag, paths.REPOSITORY], seconds=1800, env=containers.builder())


def get_programs(names: Sequence[str] = ()) -> None:
    """Compile or fetch programs by name; without names what tests against an API server without nodes need.

    Raises ClusterError for a name that is none of them.
    """
    if unknown := [name for name in names if name not in programs.BY_NAME]:
        raise ClusterError(f"No such program: {', '.join(unknown)}. There are: {', '.join(sorted(programs.BY_NAME))}.")
    wanted = [programs.BY_NAME[name] for name in names] or programs.API_SERVER
    steps = [plan.program_step(program) for program in dict.fromkeys(wanted)]
    targets = [step.name for step in steps]
    if not pending(steps, targets):
        return
    with Progress() as progress, _alone(progress):
        _run(steps, targets, progress)
