"""One pass: the order of its writes, what a failure between two of them leaves, and that it comes to rest."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from haldane.control.errors import Conflict, Retryable, Terminal
from haldane.control.looks import FRESH, METRICS_DEADLINE, STALE, Looks
from haldane.control.ports import KINDS, Answer, Event, Manifest, Series, Unavailable
from haldane.control.reconcile import PATIENCE, WHILE_WAITING, Reconciler
from haldane.control.store import Key, Store
from haldane.plan.schedule import next_look

if TYPE_CHECKING:
    from .cluster import MemoryCluster

Body = dict[str, Any]
Run = Callable[[Any], Any]

FRAUD = Key("shop", "fraud")
START = datetime(2026, 1, 1, tzinfo=UTC)
PARENT = {"namespace": "shop", "name": "fraud", "uid": "p1", "generation": 1}


class Outside:
    """The reconciler with everything that it touches; time moves only when a test says so."""

    def __init__(self, cluster: MemoryCluster) -> None:
        self.cluster = cluster
        self.moment = START
        self.events: list[Event] = []
        self.answer: Answer = (Series({}, 1.0),)
        self.answer_after = 0.0
        self.meanwhile: Callable[[], None] = lambda: None
        self.asked: list[str] = []
        self.asked_freely: list[str] = []
        self.woken: list[bool] = []
        self.looked_at_the_clock = 0
        self.set_ahead = timedelta(0)
        self.restart()

    def restart(self) -> None:
        """A new process: it knows what a list tells."""
        self.store = Store()
        for obj in self.cluster.objects.values():
            self.store.put(obj)
        images = {"cpu": "runtime:1", "gpu": "runtime-gpu:1"}
        self.looks = Looks(self, lambda key, urgent: self.woken.append(urgent))
        self.reconciler = Reconciler(
            cluster=self.cluster, looks=self.looks, recorder=self, clock=self, store=self.store, images=images
        )

    def now(self) -> datetime:
        self.looked_at_the_clock += 1
        return self.moment + self.set_ahead

    def steady(self) -> float:
        return self.moment.timestamp()

    async def query(self, promql: str, at: datetime, *, owner: str | None = None) -> Answer:
        self.asked.append(promql)
        if owner:
            self.asked_freely.append(promql)
        await asyncio.sleep(self.answer_after)
        self.meanwhile()
        return self.answer

    async def record(self, regarding: Manifest, event: Event) -> None:
        assert regarding["metadata"]["name"] == "fraud"
        self.events.append(event)

    def ask_for(self, version: str, **spec: Any) -> None:
        """What a user writes; the watch tells of it."""
        model = {"uri": f"s3://models/{version}", "version": version}
        traffic = {"host": "a.example.com", "ingress": {}}
        body = {"spec": {"model": model, "traffic": traffic, **spec}}
        known = self.cluster.objects.get(("ModelDeployment", "shop", "fraud"), {"metadata": {"generation": 0}})
        generation = known["metadata"]["generation"] + 1
        metadata = {**PARENT, "generation": generation}
        kind = {"apiVersion": "haldane.dev/v1alpha1", "kind": "ModelDeployment"}
        self.see({**kind, **body, "metadata": metadata, **({"status": known["status"]} if "status" in known else {})})

    def annotate(self, verb: str) -> None:
        """What `haldane <verb>` does."""
        known = self.cluster.named("ModelDeployment", "fraud")
        self.see({**known, "metadata": {**known["metadata"], "annotations": {f"haldane.dev/{verb}": "now"}}})

    def see(self, obj: Body) -> None:
        self.store.put(self.cluster.put(obj))

    def pods_ready(self) -> None:
        """Every Deployment has its pods, and both Services their endpoints."""
        deployments = [o for (kind, _, _), o in self.cluster.objects.items() if kind == "Deployment"]
        pods = []
        for body in deployments:
            replicas = body["spec"]["replicas"]
            self.see({**body, "status": {"readyReplicas": replicas, "replicas": replicas}})
            for number in range(replicas):
                name = f"{body['metadata']['name']}-{number}"
                labels = body["metadata"]["labels"]
                pods.append((name, labels))
                self.see({"kind": "Pod", "metadata": {"namespace": "shop", "name": name, "labels": labels}})
        for service in ("fraud", "fraud-candidate"):
            selector = self.cluster.named("Service", service)["spec"]["selector"]
            chosen = [name for name, labels in pods if selector.items() <= labels.items()]
            labels = {"haldane.dev/model": "fraud", "kubernetes.io/service-name": service}
            metadata = {"namespace": "shop", "name": service, "labels": labels}
            endpoints = [{"conditions": {"ready": True}, "targetRef": {"name": name}} for name in chosen]
            self.see({"kind": "EndpointSlice", "metadata": metadata, "endpoints": endpoints})

    async def one_pass(self) -> timedelta | None:
        """One pass, and after a look at the checks the one that decides on it; the log of the writes is in `cluster.log`."""
        self.cluster.log.clear()
        again = await self.reconciler(FRAUD)
        if not await self.answered():
            return again
        return await self.reconciler(FRAUD)

    async def answered(self) -> bool:
        """Wait for the answers that a pass asked for; whether there were any."""
        looks = [task for task in asyncio.all_tasks() if task.get_name().startswith("look at ")]
        if looks:
            await asyncio.wait(looks)
            await asyncio.sleep(0)
        return bool(looks)

    async def settle(self) -> None:
        """Passes until one writes nothing. Fails when they never come to rest."""
        for _ in range(10):
            await self.one_pass()
            if not self.cluster.log:
                return
        pytest.fail(f"no rest: {self.cluster.log}")

    def crash_candidate(self) -> None:
        """No pod of the candidate is left."""
        candidate = self.status["candidate"]["revision"]
        for kind, _, name in list(self.cluster.objects):
            if kind == "Pod" and candidate in name:
                self.store.remove(self.cluster.objects.pop((kind, "shop", name)))
        self.see({**self.cluster.named("Deployment", f"fraud-{candidate}"), "status": {"replicas": 0}})

    @property
    def status(self) -> Body:
        status: Body = self.cluster.named("ModelDeployment", "fraud")["status"]
        return status

    def condition(self, kind: str) -> Body | None:
        return next((c for c in self.status["conditions"] if c["type"] == kind), None)


@pytest.fixture
def outside(cluster: MemoryCluster) -> Outside:
    return Outside(cluster)


async def serving(outside: Outside, **spec: Any) -> None:
    """Version 1 serves."""
    outside.ask_for("1", **spec)
    await outside.settle()
    outside.pods_ready()
    await outside.settle()
    assert outside.status["rollout"]["phase"] == "Stable"


def kinds(log: Iterable[str]) -> list[str]:
    return [line.split()[1] for line in log]


async def test_status_is_written_before_the_children_that_follow_from_it(
    outside: Outside, cluster: MemoryCluster
) -> None:
    outside.ask_for("1")
    assert await outside.one_pass() == timedelta(0)
    assert kinds(cluster.log) == [
        "ModelDeployment",
        "ControllerRevision",
        "ServiceAccount",
        "Deployment",
        "PodDisruptionBudget",
        "Service",
        "Service",
        "Ingress",
        "Ingress",
    ]
    assert [event.reason for event in outside.events] == ["Deploying"]


async def test_nothing_happens_before_status_is_written(outside: Outside, cluster: MemoryCluster) -> None:
    outside.ask_for("1")
    cluster.errors = {"status ModelDeployment fraud": Retryable("away")}
    with pytest.raises(Retryable):
        await outside.one_pass()
    assert cluster.log == ["status ModelDeployment fraud"]
    assert outside.events == []


async def test_a_decision_on_an_outdated_object_is_decided_again(outside: Outside, cluster: MemoryCluster) -> None:
    outside.ask_for("1")
    newer = cluster.put(cluster.named("ModelDeployment", "fraud"))  # and the watch has not told yet
    with pytest.raises(Conflict):
        await outside.one_pass()
    assert cluster.log == ["status ModelDeployment fraud"]
    known = outside.store.parent(FRAUD)
    assert known
    assert known["metadata"]["resourceVersion"] == newer["metadata"]["resourceVersion"]
    await outside.settle()
    assert outside.status["stable"]["version"] == "1"


async def test_at_rest_a_pass_writes_nothing_and_asks_for_no_other(outside: Outside, cluster: MemoryCluster) -> None:
    await serving(outside)
    assert await outside.one_pass() is None
    assert cluster.log == []
    outside.restart()
    version = cluster.version
    await outside.one_pass()
    assert cluster.version == version


async def test_every_write_may_be_the_last_of_a_process(outside: Outside, cluster: MemoryCluster) -> None:
    """Killed after each write in turn, the next process comes to the same end."""
    await serving(outside)
    outside.ask_for("2")
    await outside.one_pass()
    writes = list(cluster.log)
    expected = {key: o["spec"] for key, o in cluster.objects.items() if "spec" in o}
    for index, write in enumerate(writes):
        other = Outside(type(cluster)())
        await serving(other)
        other.ask_for("2")
        other.cluster.errors = {write: KeyboardInterrupt()}  # type: ignore[dict-item]
        with pytest.raises(KeyboardInterrupt):
            await other.one_pass()
        assert len(other.cluster.log) == index + 1
        other.cluster.errors = {}
        other.restart()
        await other.settle()
        assert {key: o["spec"] for key, o in other.cluster.objects.items() if "spec" in o} == expected, write


async def test_traffic_is_taken_from_a_candidate_before_anything_else(outside: Outside, cluster: MemoryCluster) -> None:
    await serving(outside)
    outside.ask_for("2")
    await outside.settle()
    outside.pods_ready()
    await outside.settle()
    assert outside.status["rollout"]["weight"] > 0
    outside.ask_for("1")  # the user takes it back
    await outside.one_pass()
    assert cluster.log[:2] == ["status ModelDeployment fraud", "apply Ingress fraud-candidate"]
    assert outside.status["rollout"]["weight"] == 0


async def test_a_refusal_is_shown_while_it_lasts(outside: Outside, cluster: MemoryCluster) -> None:
    outside.ask_for("1")
    cluster.errors = {"apply PodDisruptionBudget fraud-": Terminal("no")}
    name = f"apply PodDisruptionBudget fraud-{await _revision(outside)}"
    cluster.errors = {name: Terminal("the API server refuses it")}
    outside.restart()
    with pytest.raises(Terminal, match="the API server refuses it"):
        await outside.settle()
    stalled = outside.condition("Stalled")
    assert stalled
    assert (stalled["reason"], "the API server refuses it" in stalled["message"]) == ("Refused", True)
    assert [event.reason for event in outside.events].count("Refused") == 1
    writes = cluster.version
    with pytest.raises(Terminal):
        await outside.one_pass()  # and status does not flap
    assert cluster.version == writes
    cluster.errors = {}
    await outside.settle()
    assert outside.condition("Stalled") is None


@pytest.mark.parametrize(("failure", "reason"), [(Retryable, "Progressing"), (Terminal, "Refused")])
async def test_who_keeps_a_promotion_from_the_route_is_named_once_its_deadline_has_passed(
    outside: Outside, cluster: MemoryCluster, failure: type[Retryable | Terminal], reason: str
) -> None:
    await serving(outside, rollout={"strategy": "BlueGreen", "progressDeadline": "5m"})
    outside.ask_for("2", rollout={"strategy": "BlueGreen", "progressDeadline": "5m"})
    cluster.errors = {"apply Ingress fraud-candidate": failure("the webhook says no")}

    async def passes() -> list[str]:
        """Some of them; their writes."""
        outside.pods_ready()
        done = []
        for _ in range(6):
            outside.moment += timedelta(seconds=1)
            try:
                await outside.one_pass()
            except (Retryable, Terminal):
                done += [line for line in cluster.log if line.startswith("status")]
        return done

    await passes()
    await passes()
    ready = outside.condition("Ready")
    assert ready
    assert (outside.status["rollout"]["phase"], ready["reason"]) == ("Promoting", reason)
    assert len(await passes()) <= 1, "looks at the checks are all that is written while it waits"
    outside.moment += timedelta(minutes=5)
    await passes()
    stalled = outside.condition("Stalled")
    assert stalled
    assert stalled["reason"] == "ProgressDeadlineExceeded"
    assert "the webhook says no" in stalled["message"]
    assert [event.reason for event in outside.events].count("ProgressDeadlineExceeded") == 1
    cluster.errors = {}
    await passes()
    assert outside.condition("Stalled") is None


async def _revision(outside: Outside) -> str:
    """The revision of what is asked for, from another world."""
    other = Outside(type(outside.cluster)())
    other.ask_for("1")
    await other.one_pass()
    return str(other.status["stable"]["revision"])


async def test_a_status_that_is_refused_is_told_by_an_event(outside: Outside, cluster: MemoryCluster) -> None:
    outside.ask_for("1")
    cluster.errors = {"status ModelDeployment fraud": Terminal("status.x: unknown")}
    with pytest.raises(Terminal):
        await outside.one_pass()
    assert [(event.type, event.reason) for event in outside.events] == [("Warning", "StatusRefused")]


async def test_fields_that_an_older_schema_drops_are_not_written_for_ever(
    outside: Outside, cluster: MemoryCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    await serving(outside)
    write = cluster.write_status

    async def prune(parent: Body, status: Body) -> Body:
        kept = {name: value for name, value in status.items() if name != "url"}
        if kept == cluster.named("ModelDeployment", "fraud").get("status"):
            return cluster.named("ModelDeployment", "fraud")
        return await write(parent, kept)

    monkeypatch.setattr(cluster, "write_status", prune)
    outside.ask_for("2")
    for _ in range(10):
        again = await outside.one_pass()
    assert cluster.log == []
    assert again != timedelta(0)
    assert "StatusPruned" in {event.reason for event in outside.events}


@pytest.mark.parametrize("labels", [{}, {"haldane.dev/model": "fraud"}])
async def test_a_deployment_that_loses_its_labels_is_not_lost(
    outside: Outside, cluster: MemoryCluster, labels: dict[str, str]
) -> None:
    """The watch tells of a deletion, because it watches by a label."""
    await canary(outside)
    name = f"fraud-{outside.status['stable']['revision']}"
    deployment = cluster.named("Deployment", name)
    whole = deployment["metadata"]["labels"]
    # Who takes a field away takes it from the list of ours as well.
    metadata = {**deployment["metadata"], "labels": labels, "managedFields": []}
    stripped = {**deployment, "metadata": metadata}
    outside.store.remove(cluster.put(stripped))
    before = outside.status["stable"]
    await outside.one_pass()
    assert outside.status["stable"] == before
    assert outside.status["rollout"]["weight"] > 0
    assert cluster.named("Deployment", name)["metadata"]["labels"] == whole


async def test_a_spec_that_cannot_be_read_is_explained_once(outside: Outside, cluster: MemoryCluster) -> None:
    await serving(outside, scaling={"minReplicas": 2})
    outside.ask_for("2", scaling={"minReplicas": "many"})
    events = len(outside.events)
    for _ in range(3):
        await outside.settle()
    assert [event.reason for event in outside.events[events:]] == ["InvalidSpec"]
    ready = outside.condition("Ready")
    assert ready
    assert (ready["reason"], outside.status["stable"]["version"]) == ("InvalidSpec", "1")
    assert "spec.scaling.minReplicas" in ready["message"]
    assert [o["spec"]["replicas"] for key, o in cluster.objects.items() if key[0] == "Deployment"] == [2]


async def test_a_first_spec_that_cannot_be_read_is_explained_once(outside: Outside, cluster: MemoryCluster) -> None:
    outside.ask_for("1", scaling={"minReplicas": "many"})
    for _ in range(3):
        assert await outside.reconciler(FRAUD) == timedelta(minutes=1)
    assert [event.reason for event in outside.events] == ["InvalidSpec"]
    assert {key[0] for key in cluster.objects} == {"ModelDeployment"}


UNREADABLE: dict[str, tuple[Body, str]] = {
    "a field of a newer release": ({"rollout": {"newField": 1}}, "spec.rollout.newField"),
    "such a field of the model": ({"model": {"uri": "s3://models/2", "version": "2", "nw": 1}}, "spec.model.nw"),
    "a strategy of a newer release": ({"rollout": {"strategy": "Rainbow"}}, "spec.rollout.strategy"),
    "a wrong number": ({"scaling": {"minReplicas": "many"}}, "spec.scaling.minReplicas"),
    "a wrong route": ({"traffic": {"host": 5}}, "spec.traffic.host"),
    "no model": ({"model": {}}, "spec.model.uri"),
}


@pytest.mark.parametrize("restarts", [False, True])
@pytest.mark.parametrize(("changes", "field"), UNREADABLE.values(), ids=UNREADABLE)
async def test_what_runs_is_judged_while_the_spec_cannot_be_read(
    outside: Outside, cluster: MemoryCluster, changes: Body, field: str, restarts: bool
) -> None:
    await canary(outside)
    before = outside.status
    routes = [o for key, o in cluster.objects.items() if key[0] in ("Ingress", "Service")]
    known = cluster.named("ModelDeployment", "fraud")
    outside.see({**known, "spec": {**known["spec"], **changes}})
    if restarts:
        outside.restart()
    outside.asked, events = [], len(outside.events)
    outside.moment += timedelta(seconds=45)
    await outside.settle()
    assert outside.asked, "the checks are looked at"
    assert outside.status["rollout"]["weight"] == before["rollout"]["weight"]
    assert [o for key, o in cluster.objects.items() if key[0] in ("Ingress", "Service")] == routes
    stalled = outside.condition("Stalled")
    assert stalled
    assert (stalled["reason"], field in stalled["message"]) == ("InvalidSpec", True)
    told = [event for event in outside.events[events:] if event.reason == "InvalidSpec"]
    assert [field in event.message for event in told] == [True]
    again = await outside.one_pass()
    assert again is not None
    assert again <= timedelta(seconds=10)
    outside.crash_candidate()
    await outside.one_pass()
    assert (outside.status["rollout"]["weight"], outside.status["candidate"]["version"]) == (0, "2")
    outside.annotate("abort")
    await outside.one_pass()
    assert outside.status["rollout"]["phase"] == "RollingBack"
    outside.see({**cluster.named("ModelDeployment", "fraud"), "spec": known["spec"]})
    await outside.one_pass()
    stalled = outside.condition("Stalled")
    assert stalled is None or stalled["reason"] != "InvalidSpec"


BAD_TEMPLATE = {"podTemplate": {"spec": {"containers": [{"name": "runtime", "$patch": "delete"}]}}}


async def canary(outside: Outside) -> None:
    """Version 1 serves, and version 2 has weight."""
    await serving(outside)
    outside.ask_for("2")
    await outside.settle()
    outside.pods_ready()
    await outside.settle()
    assert outside.status["rollout"]["weight"] > 0


async def test_a_pod_template_that_cannot_be_merged_does_not_stop_a_rollout(
    outside: Outside, cluster: MemoryCluster
) -> None:
    await canary(outside)
    before = outside.status
    outside.ask_for("3", runtime=BAD_TEMPLATE)
    lost = next(key for key in cluster.objects if key[0] == "Deployment" and before["stable"]["revision"] in key[2])
    outside.store.remove(cluster.objects.pop(lost))
    for kind, _, name in list(cluster.objects):
        if kind == "Pod" and before["stable"]["revision"] in name:
            outside.store.remove(cluster.objects.pop((kind, "shop", name)))
    events, outside.asked = len(outside.events), []
    outside.moment += timedelta(seconds=45)
    await outside.settle()
    again = await outside.one_pass()
    assert again is not None
    assert again <= timedelta(seconds=10)
    assert outside.asked
    assert lost in cluster.objects
    assert outside.status["candidate"]["revision"] == before["candidate"]["revision"]
    assert outside.status["stable"]["readyReplicas"] == 0
    ready, available, stalled = (outside.condition(kind) for kind in ("Ready", "Available", "Stalled"))
    assert ready
    assert available
    assert stalled
    assert (ready["status"], ready["reason"], stalled["reason"]) == ("False", "InvalidSpec", "InvalidSpec")
    assert (available["status"], available["reason"]) == ("False", "NoReadyPods")
    assert "takes the container runtime away" in ready["message"]
    assert outside.condition("Reconciling") is None
    assert [event.reason for event in outside.events[events:]].count("InvalidSpec") == 1
    outside.ask_for("2")
    await outside.settle()
    assert outside.condition("Stalled") is None


async def test_failures_are_borne_for_long_only_without_a_rollout(outside: Outside) -> None:
    assert outside.reconciler.patience(FRAUD) is None
    outside.ask_for("1")
    assert outside.reconciler.patience(FRAUD) is None
    await serving(outside)
    assert outside.reconciler.patience(FRAUD) is None
    await canary(outside)
    assert outside.reconciler.patience(FRAUD) == PATIENCE


async def test_a_first_pod_template_that_cannot_be_merged_is_explained(outside: Outside) -> None:
    outside.ask_for("1", runtime=BAD_TEMPLATE)
    assert await outside.one_pass() == timedelta(minutes=1)
    ready = outside.condition("Ready")
    assert ready
    assert ready["reason"] == "InvalidSpec"


async def test_what_is_gone_or_going_is_left_to_the_garbage_collector(outside: Outside, cluster: MemoryCluster) -> None:
    await serving(outside)
    going = cluster.named("ModelDeployment", "fraud")
    going["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    outside.see(going)
    assert await outside.one_pass() is None
    assert cluster.log == []
    outside.store.remove(cluster.put(going))
    assert await outside.one_pass() is None
    assert cluster.log == []


async def test_the_image_of_a_revision_is_pinned(outside: Outside, cluster: MemoryCluster) -> None:
    await serving(outside)
    before = {key: o for key, o in cluster.objects.items() if key[0] == "Deployment"}
    outside.restart()
    upgraded = {"cpu": "runtime:2", "gpu": "runtime-gpu:2"}
    outside.reconciler = Reconciler(
        cluster=cluster, looks=outside.looks, recorder=outside, clock=outside, store=outside.store, images=upgraded
    )
    await outside.settle()
    assert {key: o for key, o in cluster.objects.items() if key[0] == "Deployment"} == before


@pytest.mark.parametrize(("device", "image"), [("cpu", "runtime:1"), ("gpu", "runtime-gpu:1")])
async def test_the_image_fits_the_device(outside: Outside, cluster: MemoryCluster, device: str, image: str) -> None:
    outside.ask_for("1", runtime={"device": device})
    await outside.one_pass()
    deployments = [o for (kind, _, _), o in cluster.objects.items() if kind == "Deployment"]
    assert [d["spec"]["template"]["spec"]["containers"][0]["image"] for d in deployments] == [image]


def test_a_prometheus_that_hangs_does_not_hang_the_pass(outside: Outside, run_exactly: Run) -> None:
    async def main() -> float:
        await serving(outside)
        outside.ask_for("2")
        await outside.settle()
        outside.pods_ready()
        await outside.settle()
        outside.moment += timedelta(seconds=45)
        outside.answer_after = 1000.0
        started = asyncio.get_running_loop().time()
        await outside.one_pass()
        return asyncio.get_running_loop().time() - started

    assert run_exactly(main()) == pytest.approx(METRICS_DEADLINE)
    assert outside.asked
    message = outside.status["rollout"]["message"]
    assert f"Prometheus did not answer within {METRICS_DEADLINE:g} s" in message


async def test_a_decision_rests_on_a_look_from_after_the_queries(outside: Outside, cluster: MemoryCluster) -> None:
    await canary(outside)
    outside.moment += timedelta(seconds=45)
    decided_at = outside.moment + timedelta(seconds=8)

    def crash() -> None:
        outside.meanwhile = lambda: None
        outside.moment = decided_at
        outside.crash_candidate()

    outside.meanwhile, outside.asked = crash, []
    await outside.one_pass()
    assert outside.asked
    assert (outside.status["rollout"]["phase"], outside.status["rollout"]["weight"]) == ("Preparing", 0)
    assert datetime.fromisoformat(outside.status["rollout"]["weightChangedAt"]) == decided_at


async def test_answers_to_what_was_asked_of_an_older_object_decide_nothing(
    outside: Outside, cluster: MemoryCluster
) -> None:
    await canary(outside)
    outside.moment += timedelta(seconds=45)

    def edited() -> None:
        outside.meanwhile = lambda: None
        known = cluster.named("ModelDeployment", "fraud")
        rollout = {**known["spec"].get("rollout", {}), "keepStableFor": "2h"}
        outside.see({**known, "spec": {**known["spec"], "rollout": rollout}})

    outside.meanwhile, outside.asked = edited, []
    assert await outside.one_pass() == WHILE_WAITING
    asked = len(outside.asked)
    assert asked
    assert cluster.log == []
    await outside.answered()
    assert len(outside.asked) == 2 * asked
    await outside.one_pass()
    assert cluster.log[0] == "status ModelDeployment fraud"


def test_an_object_that_is_always_touched_is_judged_all_the_same(
    outside: Outside, cluster: MemoryCluster, run_exactly: Run
) -> None:
    """A tool writes an annotation every 2 s, and Prometheus takes 3 s for an answer."""

    async def main() -> None:
        await canary(outside)
        outside.moment += timedelta(seconds=45)
        outside.answer_after = 3.0
        looked = outside.status["rollout"].get("checkedAt")
        for number in range(4):
            await outside.reconciler(FRAUD)
            await asyncio.sleep(2.0)
            outside.moment += timedelta(seconds=2)
            metadata = {
                **cluster.named("ModelDeployment", "fraud")["metadata"],
                "annotations": {"touched": str(number)},
            }
            outside.see({**cluster.named("ModelDeployment", "fraud"), "metadata": metadata})
        assert outside.status["rollout"]["checkedAt"] != looked

    run_exactly(main())


async def test_a_pass_takes_the_time_once(outside: Outside, cluster: MemoryCluster) -> None:
    await canary(outside)
    outside.moment += timedelta(seconds=45)
    for _ in range(3):
        before = outside.looked_at_the_clock
        await outside.reconciler(FRAUD)
        assert outside.looked_at_the_clock == before + 1
        await outside.answered()


async def test_what_is_decided_on_a_look_has_the_instant_of_the_look(outside: Outside) -> None:
    await canary(outside)
    outside.moment += timedelta(seconds=45)
    asked_at = outside.moment
    await outside.reconciler(FRAUD)
    await outside.answered()
    outside.moment += FRESH
    outside.crash_candidate()
    await outside.reconciler(FRAUD)
    rollout = outside.status["rollout"]
    assert datetime.fromisoformat(rollout["checkedAt"]) == asked_at
    assert datetime.fromisoformat(rollout["weightChangedAt"]) == asked_at


async def test_a_look_that_moves_nothing_needs_no_further_pass(outside: Outside, cluster: MemoryCluster) -> None:
    await canary(outside)
    outside.moment += timedelta(seconds=45)
    await outside.settle()
    outside.moment += timedelta(seconds=10)
    again = await outside.one_pass()
    assert cluster.log == ["status ModelDeployment fraud"]
    assert again is not None
    assert timedelta(0) < again <= timedelta(seconds=10)
    assert await outside.one_pass() == again
    assert cluster.log == []


async def test_an_answer_that_takes_a_while_puts_off_no_later_look(outside: Outside) -> None:
    rollout = {"analysis": {"interval": "5s", "window": "20s"}}
    await serving(outside, rollout=rollout)
    outside.ask_for("2", rollout=rollout)
    await outside.settle()
    outside.pods_ready()
    await outside.settle()
    outside.moment += timedelta(seconds=45)
    await outside.settle()
    outside.moment += timedelta(seconds=5)
    await outside.reconciler(FRAUD)
    await outside.answered()
    outside.moment += timedelta(seconds=0.6)
    again = await outside.reconciler(FRAUD)
    assert again is not None
    looked = datetime.fromisoformat(outside.status["rollout"]["checkedAt"])
    assert outside.moment + again == next_look("p1", looked, timedelta(seconds=5))


async def test_a_look_that_its_pass_never_used_is_taken_again(outside: Outside) -> None:
    await canary(outside)
    outside.moment += timedelta(seconds=45)
    await outside.reconciler(FRAUD)
    await outside.answered()
    asked = len(outside.asked)
    outside.moment += STALE + timedelta(seconds=1)
    await outside.reconciler(FRAUD)
    assert await outside.answered()
    assert len(outside.asked) == 2 * asked


def test_what_needs_no_verdict_does_not_wait_for_prometheus(outside: Outside, run_exactly: Run) -> None:
    """While Prometheus hangs: an event decides nothing, a spec that is taken back decides at once."""

    async def main() -> float:
        await canary(outside)
        outside.moment += timedelta(seconds=45)
        outside.answer_after = 1000.0
        started = asyncio.get_running_loop().time()
        outside.cluster.log.clear()
        assert await outside.reconciler(FRAUD) == WHILE_WAITING
        assert await outside.reconciler(FRAUD) == WHILE_WAITING
        assert outside.cluster.log == []
        outside.ask_for("1")
        assert await outside.reconciler(FRAUD) == timedelta(0)
        return asyncio.get_running_loop().time() - started

    assert run_exactly(main()) == 0.0
    assert outside.status["rollout"]["weight"] == 0


@pytest.mark.parametrize("late", [timedelta(seconds=45), timedelta(hours=1)], ids=["in time", "past the deadline"])
@pytest.mark.parametrize("what", ["abort", "lost pods", "spec taken back"])
def test_what_takes_traffic_away_waits_for_no_look(
    outside: Outside, run_exactly: Run, what: str, late: timedelta
) -> None:
    """While Prometheus hangs, before and after the deadline of the step."""

    async def main() -> float:
        await canary(outside)
        outside.moment += late
        outside.answer_after = 1000.0
        started = asyncio.get_running_loop().time()
        assert await outside.reconciler(FRAUD) == WHILE_WAITING
        outside.cluster.log.clear()
        if what == "abort":
            outside.annotate("abort")
        elif what == "lost pods":
            outside.crash_candidate()
        else:
            outside.ask_for("1")
        assert await outside.reconciler(FRAUD) == timedelta(0)
        return asyncio.get_running_loop().time() - started

    assert run_exactly(main()) == 0.0
    assert "apply Ingress fraud-candidate" in outside.cluster.log
    assert outside.status["rollout"]["weight"] == 0
    assert outside.status["rollout"]["phase"] == ("Preparing" if what == "lost pods" else "RollingBack")


def test_an_abort_after_the_promotion_brings_old_pods_back_without_a_look(outside: Outside, run_exactly: Run) -> None:
    """They have gone already, so that nothing is rerouted yet: but they are to be made at once."""

    async def main() -> None:
        rollout = {"keepStableFor": "1s", "watchAfterPromotion": "1h"}
        await serving(outside, rollout=rollout)
        outside.ask_for("2", rollout=rollout)
        await outside.settle()
        outside.pods_ready()
        outside.annotate("promote")
        for _ in range(20):
            await outside.settle()
            outside.pods_ready()
            outside.moment += timedelta(seconds=10)
        assert outside.status["rollout"]["phase"] == "Watching"
        assert outside.status["previous"]["replicas"] == 0
        outside.moment += timedelta(seconds=45)
        outside.answer_after = 1000.0
        assert await outside.reconciler(FRAUD) == WHILE_WAITING
        outside.annotate("abort")
        assert await outside.reconciler(FRAUD) == timedelta(0)

    run_exactly(main())
    assert outside.status["rollout"]["phase"] == "RollingBack"
    assert outside.status["previous"]["replicas"] == 1


async def test_a_step_is_not_given_up_at_its_deadline_before_its_last_look(
    outside: Outside, cluster: MemoryCluster
) -> None:
    rollout = {"analysis": {"onInconclusive": "Rollback"}, "progressDeadline": "5m"}
    await serving(outside, rollout=rollout)
    outside.ask_for("2", rollout=rollout)
    await outside.settle()
    outside.pods_ready()
    await outside.settle()
    assert outside.status["rollout"]["weight"] > 0
    outside.moment += timedelta(hours=1)
    cluster.log.clear()
    assert await outside.reconciler(FRAUD) == WHILE_WAITING
    assert cluster.log == []
    await outside.answered()
    await outside.reconciler(FRAUD)
    assert outside.status["rejected"] == [], "nobody looked for an hour: it gets a last chance"
    outside.moment += timedelta(seconds=40)
    cluster.log.clear()
    assert await outside.reconciler(FRAUD) == WHILE_WAITING
    assert cluster.log == []
    await outside.answered()
    await outside.reconciler(FRAUD)
    assert outside.status["rejected"][0]["reason"] == "Inconclusive"


async def test_a_look_that_waits_long_for_its_turn_hides_no_deadline(
    outside: Outside, monkeypatch: pytest.MonkeyPatch
) -> None:
    rollout = {"analysis": {"onInconclusive": "Rollback"}, "progressDeadline": "5m"}
    await serving(outside, rollout=rollout)
    outside.ask_for("2", rollout=rollout)
    await outside.settle()
    outside.pods_ready()
    await outside.settle()
    monkeypatch.setattr("haldane.control.looks.MOST", 0)
    outside.moment += timedelta(seconds=10)
    for _ in range(40):
        outside.moment += WHILE_WAITING
        assert await outside.reconciler(FRAUD) == WHILE_WAITING
    monkeypatch.undo()
    await outside.one_pass()
    assert outside.status["rejected"][0]["reason"] == "Inconclusive"


@pytest.mark.parametrize("restarts", [False, True])
async def test_a_clock_that_is_set_ahead_ends_no_wait(outside: Outside, restarts: bool) -> None:
    await serving(outside)
    outside.ask_for("2")
    await outside.settle()
    assert outside.status["rollout"]["phase"] == "Preparing"
    outside.moment += timedelta(seconds=5)
    outside.set_ahead = timedelta(hours=1)
    if restarts:
        outside.restart()
    await outside.settle()
    outside.moment += timedelta(seconds=20)
    await outside.settle()
    assert (outside.status["rollout"]["phase"], outside.status["rejected"]) == ("Preparing", [])
    outside.pods_ready()
    await outside.settle()
    assert outside.status["rollout"]["weight"] > 0


async def test_what_the_watches_told_before_the_api_server_went_away_rejects_nothing(
    outside: Outside, cluster: MemoryCluster
) -> None:
    await serving(outside)
    outside.ask_for("2")
    await outside.settle()
    cluster.errors = {"status ModelDeployment fraud": Retryable("away")}
    for number in range(30):
        outside.moment += timedelta(seconds=30)
        outside.ask_for("2", scaling={"minReplicas": 1 + number % 2})
        with pytest.raises(Retryable):
            await outside.one_pass()
    cluster.errors = {}
    await outside.settle()
    assert (outside.status["rollout"]["phase"], outside.status["rejected"]) == ("Preparing", [])
    outside.pods_ready()
    await outside.settle()
    assert outside.status["rollout"]["weight"] > 0


async def test_a_look_at_something_that_is_gone_is_given_up(outside: Outside, cluster: MemoryCluster) -> None:
    await canary(outside)
    outside.moment += timedelta(seconds=45)
    outside.answer_after = 1000.0
    await outside.reconciler(FRAUD)
    outside.store.remove(cluster.named("ModelDeployment", "fraud"))
    assert await outside.reconciler(FRAUD) is None
    assert await outside.answered()
    assert outside.woken == []


async def test_a_verdict_that_cannot_be_reached_holds_up_nothing_else(
    outside: Outside, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_verdict(*_: object) -> None:
        raise ArithmeticError("no verdict")

    await canary(outside)
    outside.moment += timedelta(seconds=45)
    monkeypatch.setattr("haldane.plan.analysis.judge", no_verdict)
    await outside.one_pass()
    assert outside.woken[-1] is False
    for check in outside.status["rollout"]["checks"]:
        assert (check["verdict"], "ArithmeticError('no verdict')" in check["message"]) == ("Inconclusive", True)
    outside.moment += timedelta(seconds=45)
    outside.crash_candidate()
    await outside.one_pass()
    assert outside.status["rollout"]["weight"] == 0


async def test_an_outage_of_prometheus_is_one_event_also_for_the_next_process(outside: Outside) -> None:
    await canary(outside)
    outside.answer = Unavailable("connection refused")
    for _ in range(3):
        outside.moment += timedelta(seconds=45)
        await outside.one_pass()
        outside.restart()
    told = [event for event in outside.events if event.reason == "Undecided"]
    assert [event.type for event in told] == ["Warning"]
    assert "Prometheus gave no answer: connection refused" in told[0].message


async def test_a_failed_check_comes_before_everything_else(outside: Outside) -> None:
    checks = [{"name": "own", "query": {"promql": "mine", "max": "0.5"}}]
    analysis = {"failureLimit": 1, "minRequests": 1, "warmup": "0s"}
    rollout = {"checks": checks, "analysis": analysis}
    await serving(outside, rollout=rollout)
    outside.ask_for("2", rollout=rollout)
    await outside.settle()
    outside.pods_ready()
    await outside.settle()
    candidate = outside.status["candidate"]["revision"]
    outside.answer = (Series({"revision": candidate, "code": "200"}, 100.0),)
    outside.moment += timedelta(seconds=45)
    outside.woken.clear()
    await outside.one_pass()
    assert outside.woken == [True]
    assert outside.status["rollout"]["phase"] == "RollingBack"
    assert not outside.reconciler.is_exposed(FRAUD)


async def test_queries_of_users_are_asked_as_such(outside: Outside) -> None:
    query = {"promql": 'mine{revision="{{revision}}"}', "max": "5"}
    compared = {"promql": 'ratio{revision="{{revision}}"}', "maxIncrease": "5%"}
    checks = [{"name": "own", "query": query}, {"name": "ratio", "query": compared}]
    rollout = {"checks": [{"name": "errors", "errorRate": {"max": "1%"}}, *checks]}
    await serving(outside, rollout=rollout)
    outside.ask_for("2", rollout=rollout)
    await outside.settle()
    outside.pods_ready()
    await outside.settle()
    outside.moment += timedelta(seconds=45)
    outside.asked, outside.asked_freely = [], []
    await outside.one_pass()
    assert {promql.partition("{")[0] for promql in outside.asked_freely} == {"mine", "ratio"}
    assert [promql for promql in outside.asked if "haldane_requests_total" in promql]
    assert not [promql for promql in outside.asked_freely if "haldane_" in promql]


def test_every_kind_that_is_made_is_watched(outside: Outside, run_exactly: Run) -> None:
    async def main() -> None:
        await serving(outside, scaling={"minReplicas": 1, "maxReplicas": 3})

    run_exactly(main())
    assert {key[0] for key in outside.cluster.objects} == {kind.kind for kind in KINDS}
