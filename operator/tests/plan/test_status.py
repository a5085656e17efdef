from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from haldane.api.status import CheckStatus, Condition, ModelDeploymentStatus, Phase, Rejected, RevisionStatus
from haldane.api.v1alpha1 import RETRY_ANNOTATION, ModelDeployment
from haldane.plan.analysis import judge
from haldane.plan.annotations import awaits_approval
from haldane.plan.observed import Event, Observed, Problem, RevisionPods, Series, Unavailable
from haldane.plan.revision import revision_hash, target
from haldane.plan.rollout import step
from haldane.plan.status import compose, invalid, problem_events
from haldane.plan.strategic_merge import PodTemplateError

Make = Callable[..., ModelDeployment]
StatusOf = Callable[..., ModelDeploymentStatus]
NOW = datetime(2026, 1, 1, 12, 0, 0, 250_000, tzinfo=UTC)
OLD = "0000000000"
SECRET = Problem("CreateContainerConfigError", "Secret s3-models does not exist in namespace payments: create it")


def pods(ready: dict[str, int], problem: Problem | None = None) -> Observed:
    """Two pods of each revision, so many ready; the problem is that of those that lack some."""
    return Observed(
        {name: RevisionPods(name, 2, count, problem if count < 2 else None) for name, count in ready.items()}
    )


def rolling_out(
    md: ModelDeployment, status_of: StatusOf, phase: Phase = "Progressing", **rollout: Any
) -> ModelDeploymentStatus:
    """The spec's revision as the candidate beside version 0."""
    return status_of(
        md,
        phase,
        stable=RevisionStatus(revision=OLD, version="0", replicas=2),
        candidate=RevisionStatus(revision=revision_hash(md), version="1", replicas=2),
        rollout=rollout,
    )


def rolled_back(md: ModelDeployment, status_of: StatusOf, message: str, **more: Any) -> ModelDeploymentStatus:
    rejected = Rejected(
        revision=revision_hash(md),
        version="1",
        reason="CheckFailed",
        message=message,
        at=NOW,
        retry=more.pop("retry", ""),
    )
    return status_of(
        md,
        more.pop("phase", "Stable"),
        stable=RevisionStatus(revision=OLD, version="0", replicas=2),
        rejected=[rejected],
        **more,
    )


def by_type(status: ModelDeploymentStatus) -> dict[str, Condition]:
    return {condition.type: condition for condition in status.conditions}


def summary(status: ModelDeploymentStatus) -> dict[str, str]:
    return {condition.type: f"{condition.status} {condition.reason}" for condition in status.conditions}


def message(status: ModelDeploymentStatus, condition: str = "Ready") -> str:
    return by_type(status)[condition].message


def test_first_sight(model_deployment: Make, status_of: StatusOf) -> None:
    md = model_deployment()
    shown = compose(
        md, status_of(md, "Initializing", rollout={"message": "waiting for the pods of version 1"}), Observed(), NOW
    )
    assert summary(shown) == {
        "Ready": "False Progressing", "Available": "False NoReadyPods", "Reconciling": "True Progressing"
    }  # fmt: skip
    assert message(shown) == "Waiting for the pods of version 1."
    assert message(shown, "Available") == "0 of 1 pods of version 1 are ready."
    assert shown.observed_generation == 7
    assert {condition.observed_generation for condition in shown.conditions} == {7}


def test_serving(model_deployment: Make, status_of: StatusOf) -> None:
    md = model_deployment(traffic={"host": "fraud.example.com", "ingress": {}})
    revision = revision_hash(md)
    shown = compose(md, status_of(md, "Stable"), pods({revision: 2}), NOW)
    assert summary(shown) == {"Ready": "True Serving", "Available": "True Serving"}
    assert message(shown) == "Version 1 serves with 2 ready pods."
    assert shown.url == "http://fraud.example.com/"
    assert shown.replicas == 2
    assert shown.selector == f"haldane.dev/model=fraud,haldane.dev/revision={revision}"
    assert shown.stable is not None
    assert shown.stable.ready_replicas == 2
    assert (
        message(compose(md, status_of(md, "Stable"), pods({revision: 1}), NOW)) == "Version 1 serves with 1 ready pod."
    )


def test_counts_every_revision(model_deployment: Make, status_of: StatusOf) -> None:
    md = model_deployment()
    decided = rolling_out(md, status_of).model_copy(
        update={"previous": RevisionStatus(revision="ffffffffff", version="-1", replicas=1)}
    )
    shown = compose(md, decided, pods({OLD: 2, revision_hash(md): 1, "ffffffffff": 1}), NOW)
    assert [part and part.ready_replicas for part in (shown.stable, shown.candidate, shown.previous)] == [2, 1, 1]
    assert shown.replicas == 2


@pytest.mark.parametrize("phase", ["Preparing", "Progressing", "Promoting", "RollingBack"])
def test_rolling_out(model_deployment: Make, status_of: StatusOf, phase: Phase) -> None:
    md = model_deployment()
    shown = compose(md, rolling_out(md, status_of, phase, message="weight 5%: holding for 10m"), pods({OLD: 2}), NOW)
    assert summary(shown) == {
        "Ready": "False Progressing", "Available": "True Serving", "Reconciling": "True Progressing"
    }  # fmt: skip
    assert message(shown) == "Weight 5%: holding for 10m. Version 0 serves with 2 ready pods."
    assert message(shown, "Available") == "Version 0 serves with 2 ready pods."


def test_a_new_spec_that_nothing_was_done_about_yet(model_deployment: Make, status_of: StatusOf) -> None:
    md = model_deployment()
    shown = compose(
        md,
        status_of(md, "Stable", stable=RevisionStatus(revision=OLD, version="0", replicas=2)),
        pods({OLD: 2}),
        NOW,
    )
    assert summary(shown)["Ready"] == "False Progressing"
    assert summary(shown)["Reconciling"] == "True Progressing"


def test_ready_at_the_end_of_a_promotion(model_deployment: Make, status_of: StatusOf) -> None:
    md = model_deployment()
    decided = status_of(md, "Watching", rollout={"message": "version 1 serves; watching it"})
    shown = compose(md, decided, pods({revision_hash(md): 2}), NOW)
    assert summary(shown) == {"Ready": "True Serving", "Available": "True Serving"}
    assert message(shown) == "Version 1 serves with 2 ready pods. Version 1 serves; watching it."


@pytest.mark.parametrize("phase", ["RollingBack", "Stable"])
def test_rolled_back(model_deployment: Make, status_of: StatusOf, phase: Phase) -> None:
    md = model_deployment()
    why = "check p99 failed: p99 310ms is beyond the limit 250ms: 40 of 512 requests took longer"
    check = CheckStatus(
        name="p99", verdict="Fail", value="310ms", baseline="98ms", limit="250ms", requests=512, at=NOW,
        message="p99 310ms is beyond the limit 250ms: 40 of 512 requests took longer",
    )  # fmt: skip
    decided = rolled_back(md, status_of, why, phase=phase, rollout={"checks": [check]})
    shown = compose(md, decided, pods({OLD: 2}), NOW)
    assert summary(shown) == {"Ready": "False RolledBack", "Available": "True Serving", "Stalled": "True RolledBack"}
    assert (
        message(shown)
        == message(shown, "Stalled")
        == (
            "Version 1 was rolled back: check p99 failed: p99 310ms is beyond the limit 250ms: 40 of 512 requests took longer "
            "(value 310ms, stable 98ms, limit 250ms, requests 512). Version 0 serves with 2 ready pods. "
            "Correct spec.model or spec.runtime, or, to try the same again, also by other rules of spec.rollout, "
            "set the annotation haldane.dev/retry to a new value."
        )
    )


PAUSED = "paused (INC-12); to go on: `kubectl annotate mdep fraud -n payments haldane.dev/pause-`"


@pytest.mark.parametrize(
    ("phase", "expected"),
    [
        ("Stable", "True Serving"),
        ("Watching", "True Serving"),
        ("Preparing", "False Paused"),
        ("Progressing", "False Paused"),
        ("Promoting", "False Paused"),
        ("RollingBack", "False Progressing"),
    ],
)
def test_paused(model_deployment: Make, status_of: StatusOf, phase: Phase, expected: str) -> None:
    md = model_deployment(annotations={"haldane.dev/pause": "INC-12"})
    rolling = phase not in ("Stable", "Watching")
    decided = rolling_out(md, status_of, phase, message=PAUSED) if rolling else status_of(md, phase)
    shown = compose(md, decided, pods({OLD: 2, revision_hash(md): 2}), NOW)
    assert summary(shown)["Ready"] == expected
    assert summary(shown)["Suspended"] == "True Paused"
    assert message(shown, "Suspended") == f"Rollouts are {PAUSED}."
    assert ("Reconciling" in summary(shown)) == rolling


def test_waiting_for_approval(model_deployment: Make, status_of: StatusOf) -> None:
    md = model_deployment()
    decided = rolling_out(md, status_of, weight=5, step=0)
    md = md.model_copy(update={"status": decided})
    waiting = awaits_approval(md, decided.rollout)
    rollout = decided.rollout.model_copy(update={"message": waiting})
    shown = compose(md, decided.model_copy(update={"rollout": rollout}), pods({OLD: 2, revision_hash(md): 2}), NOW)
    approve = f"`kubectl annotate mdep fraud -n payments haldane.dev/approve={revision_hash(md)}-1 --overwrite`"
    assert summary(shown)["Suspended"] == "True WaitingForApproval"
    assert summary(shown)["Reconciling"] == "True WaitingForApproval"
    assert message(shown, "Suspended") == f"Weight 5%: step 1 waits for approval: {approve}."
    assert approve in message(shown)


def test_rolled_back_before_any_check(model_deployment: Make, status_of: StatusOf) -> None:
    md = model_deployment()
    why = "0 of 1 pods were ready after 10m (ImagePullBackOff: image x cannot be pulled: correct spec.runtime.image)"
    shown = compose(md, rolled_back(md, status_of, why), pods({OLD: 2}), NOW)
    assert message(shown).startswith(f"Version 1 was rolled back: {why}. Version 0 serves")


@pytest.mark.parametrize(("annotation", "expected"), [("1", "False RolledBack"), ("2", "False Progressing")])
def test_a_retry_is_a_new_chance(model_deployment: Make, status_of: StatusOf, annotation: str, expected: str) -> None:
    md = model_deployment(annotations={RETRY_ANNOTATION: annotation})
    shown = compose(md, rolled_back(md, status_of, "why", retry="1"), pods({OLD: 2}), NOW)
    assert summary(shown)["Ready"] == expected


def test_another_revisions_rejection_is_history(model_deployment: Make, status_of: StatusOf) -> None:
    md = model_deployment()
    rejected = [Rejected(revision=OLD, version="0", reason="CheckFailed", message="why", at=NOW)]
    shown = compose(md, status_of(md, "Stable", rejected=rejected), pods({revision_hash(md): 2}), NOW)
    assert summary(shown) == {"Ready": "True Serving", "Available": "True Serving"}


@pytest.mark.parametrize(("age", "expected"), [(600, "Reconciling"), (601, "Stalled")])
def test_a_first_deployment_has_a_deadline(
    model_deployment: Make, status_of: StatusOf, age: int, expected: str
) -> None:
    md = model_deployment()
    begun = NOW - timedelta(seconds=age)
    decided = status_of(md, "Initializing", rollout={"phase_started_at": begun, "message": "waiting"})
    shown = compose(md, decided, pods({revision_hash(md): 0}, SECRET), NOW)
    assert by_type(shown).keys() == {"Ready", "Available", expected}
    if expected == "Stalled":
        assert summary(shown)["Ready"] == "False ProgressDeadlineExceeded"
        assert message(shown) == (
            "0 of 1 pods of version 1 are ready after 10m, and still awaited. Version 1 is held up "
            "(CreateContainerConfigError): Secret s3-models does not exist in namespace payments: create it."
        )


def test_lost_pods_of_stable(model_deployment: Make, status_of: StatusOf) -> None:
    md = model_deployment(scaling={"minReplicas": 2})
    revision = revision_hash(md)
    decided = status_of(md, "Stable", stable=RevisionStatus(revision=revision, version="1", replicas=2))
    crash = Problem("CrashLoopBackOff", "container runtime ended with exit code 1", crashed=True)

    one = compose(md, decided, pods({revision: 1}, crash), NOW)
    assert summary(one) == {"Ready": "True Serving", "Available": "True Serving", "Reconciling": "True PodsNotReady"}
    assert message(one) == (
        "Version 1 serves, 1 of its 2 pods are ready. "
        "Version 1 is held up (CrashLoopBackOff): container runtime ended with exit code 1."
    )

    none = compose(md, decided, pods({revision: 0}, crash), NOW)
    assert summary(none) == {
        "Ready": "False NoReadyPods", "Available": "False NoReadyPods", "Reconciling": "True PodsNotReady"
    }  # fmt: skip


def test_an_autoscaler_at_work_leaves_the_object_ready(model_deployment: Make, status_of: StatusOf) -> None:
    md = model_deployment(scaling={"minReplicas": 2, "maxReplicas": 9})
    revision = revision_hash(md)
    decided = status_of(md, "Stable", stable=RevisionStatus(revision=revision, version="1", replicas=9))
    shown = compose(md, decided, Observed({revision: RevisionPods(revision, 9, 3)}), NOW)
    assert summary(shown) == {"Ready": "True Serving", "Available": "True Serving"}
    assert message(shown) == "Version 1 serves, 3 of its 9 pods are ready."


def test_a_problem_of_the_candidate_is_told_while_stable_serves(model_deployment: Make, status_of: StatusOf) -> None:
    md = model_deployment()
    decided = rolling_out(md, status_of, "Preparing", message="waiting for the pods of version 1: 0 of 1 ready")
    shown = compose(md, decided, pods({OLD: 2, revision_hash(md): 0}, SECRET), NOW)
    expected = (
        "Waiting for the pods of version 1: 0 of 1 ready. Version 1 is held up (CreateContainerConfigError): "
        "Secret s3-models does not exist in namespace payments: create it. Version 0 serves with 2 ready pods."
    )
    assert message(shown) == message(shown, "Reconciling") == expected
    assert summary(shown)["Available"] == "True Serving"
    assert "s3-models" not in message(shown, "Available")


def test_a_refused_child_stalls(model_deployment: Make, status_of: StatusOf) -> None:
    md = model_deployment()
    shown = compose(md, status_of(md, "Stable"), pods({revision_hash(md): 2}), NOW, "Ingress fraud: host is taken")
    assert summary(shown) == {"Ready": "False Refused", "Available": "True Serving", "Stalled": "True Refused"}
    assert message(shown) == (
        "The cluster refuses what the spec asks for: Ingress fraud: host is taken. "
        "Correct the spec, or what the message names. "
        "Version 1 serves with 2 ready pods."
    )


class TestUndecided:
    """A held rollout says which check holds it, why, and what ends that."""

    def held(
        self,
        md: ModelDeployment,
        status_of: StatusOf,
        answers: dict[str, Any],
        age: float,
        phase: Phase = "Progressing",
    ) -> str:
        """The message of a rollout at 1 %, as the rollout engine itself decides it after these answers of Prometheus."""
        decided = rolling_out(
            md, status_of, phase, weight=1, weight_changed_at=NOW - timedelta(seconds=age), phase_started_at=NOW,
        )  # fmt: skip
        if phase == "Watching":
            decided = decided.model_copy(
                update={"stable": decided.candidate, "candidate": None, "previous": decided.stable}
            )
        md = md.model_copy(update={"status": decided})
        analysis = judge(md, answers, NOW)
        assert analysis is not None
        observed = pods({OLD: 2, revision_hash(md): 2})
        decision = step(md, target(md, "haldane/runtime:1"), observed, analysis, NOW)
        return message(compose(md, decision.status, observed, NOW))

    def test_prometheus_is_down(self, model_deployment: Make, status_of: StatusOf) -> None:
        down = Unavailable("connection refused at http://prometheus:9090")
        text = self.held(model_deployment(), status_of, {"recent": down, "requests": down}, age=300)
        assert text == (
            "Weight 1%: holding, Prometheus gave no answer: connection refused at http://prometheus:9090. "
            "Check that Prometheus runs and that the operator's Prometheus address leads to it. "
            "Undecided checks hold the rollout; it goes on by itself once they are decided. Version 0 serves with 2 ready pods."
        )

    def test_no_traffic(self, model_deployment: Make, status_of: StatusOf) -> None:
        nothing = (Series({"revision": OLD, "code": "200"}, 0.0),)
        text = self.held(model_deployment(), status_of, {"recent": nothing, "requests": nothing}, age=300)
        assert text == (
            "Weight 1%: holding, no requests arrive; the step begins with the first ones. "
            "Checks errors, p99 are undecided: no requests reached the candidate; 100 are needed. "
            "Send more requests, or lower spec.rollout.analysis.minRequests. "
            "Undecided checks hold the rollout; it goes on by itself once they are decided. Version 0 serves with 2 ready pods."
        )

    def test_few_requests_at_the_beginning_are_nothing_to_act_on(
        self, model_deployment: Make, status_of: StatusOf
    ) -> None:
        text = self.held(model_deployment(), status_of, {"recent": (), "requests": ()}, age=40)
        assert "minRequests" not in text

    @pytest.mark.parametrize(
        ("choice", "consequence"), [("Promote", "goes on without them"), ("Rollback", "is rolled back")]
    )
    def test_the_users_choice_is_told(
        self, model_deployment: Make, status_of: StatusOf, choice: str, consequence: str
    ) -> None:
        md = model_deployment(rollout={"analysis": {"onInconclusive": choice}})
        down = Unavailable("connection refused")
        text = self.held(md, status_of, {"recent": down, "requests": down}, age=300)
        assert f"at the deadline of the step it {consequence}, as onInconclusive asks." in text

    def test_while_watching_it_is_told_but_ready_stays(self, model_deployment: Make, status_of: StatusOf) -> None:
        down = Unavailable("connection refused")
        checks = [{"name": "errors", "errorRate": {"max": "1%"}}, {"name": "p99", "latency": {"max": "250ms"}}]
        md = model_deployment(rollout={"checks": checks})
        text = self.held(md, status_of, {"recent": down, "requests": down}, age=300, phase="Watching")
        assert "Checks errors, p99 are undecided: Prometheus gave no answer: connection refused." in text
        assert "Undecided checks roll nothing back." in text


def test_a_transition_is_when_the_status_changed(model_deployment: Make, status_of: StatusOf) -> None:
    md = model_deployment()
    revision = revision_hash(md)
    first = compose(md, status_of(md, "Stable"), pods({revision: 2}), NOW)
    assert {condition.last_transition_time for condition in first.conditions} == {NOW.replace(microsecond=0)}
    assert first.to_wire()["conditions"][0]["lastTransitionTime"] == "2026-01-01T12:00:00.000Z"

    later = NOW + timedelta(minutes=1)
    md = md.model_copy(update={"status": first})
    again = compose(md, status_of(md, "Stable"), pods({revision: 1}), later)
    assert by_type(again)["Ready"].last_transition_time == NOW.replace(microsecond=0)
    assert by_type(again)["Ready"].message != by_type(first)["Ready"].message

    lost = compose(md, status_of(md, "Stable"), pods({revision: 0}), later)
    assert by_type(lost)["Ready"].last_transition_time == later.replace(microsecond=0)


def test_a_second_look_changes_nothing(model_deployment: Make, status_of: StatusOf) -> None:
    md = model_deployment()
    observed = pods({OLD: 2, revision_hash(md): 0}, SECRET)
    first = compose(md, rolling_out(md, status_of), observed, NOW)
    seen = ModelDeploymentStatus.model_validate(first.to_wire())
    md = md.model_copy(update={"status": seen})
    assert compose(md, seen, observed, NOW + timedelta(seconds=30)).to_wire() == first.to_wire()


class TestEvents:
    def test_a_new_problem_is_told_once(self, model_deployment: Make, status_of: StatusOf) -> None:
        md = model_deployment()
        decided = rolling_out(md, status_of, "Preparing", message="waiting")
        observed = pods({OLD: 2, revision_hash(md): 0}, SECRET)
        told = problem_events(md.status, decided, observed)
        assert told == (
            Event(
                "Warning",
                "CreateContainerConfigError",
                "Version 1 is held up (CreateContainerConfigError): "
                "Secret s3-models does not exist in namespace payments: create it.",
            ),
        )
        assert problem_events(compose(md, decided, observed, NOW), decided, observed) == ()

    def test_another_cause_is_told_again(self, model_deployment: Make, status_of: StatusOf) -> None:
        md = model_deployment()
        decided = rolling_out(md, status_of, "Preparing")
        before = compose(md, decided, pods({OLD: 2, revision_hash(md): 0}, SECRET), NOW)
        other = Problem("Unschedulable", "no node takes the pod: 1 Insufficient cpu: add nodes")
        observed = pods({OLD: 2, revision_hash(md): 0}, other)
        assert [event.reason for event in problem_events(before, decided, observed)] == ["Unschedulable"]

    def test_a_moment_of_not_ready_is_no_event(self, model_deployment: Make, status_of: StatusOf) -> None:
        md = model_deployment()
        for reason in ("Loading", "NotReady"):
            observed = pods({revision_hash(md): 1}, Problem(reason, "see kubectl logs"))
            assert problem_events(md.status, status_of(md, "Stable"), observed) == ()
            assert "Version 1: see kubectl logs." in message(compose(md, status_of(md, "Stable"), observed, NOW))


class TestInvalid:
    def body(self, **status: Any) -> dict[str, Any]:
        return {
            "apiVersion": "haldane.dev/v1alpha1",
            "kind": "ModelDeployment",
            "metadata": {"name": "fraud", "namespace": "payments", "uid": "u", "generation": 8},
            "spec": {"model": {"uri": "ftp://x"}, "runtime": {"limits": {"queue": 0}}},
            **({"status": status} if status else {}),
        }

    def error(self) -> ValidationError:
        with pytest.raises(ValidationError) as raised:
            ModelDeployment.from_wire(self.body())
        return raised.value

    def test_names_every_field(self) -> None:
        status = invalid(self.body(), self.error(), NOW)
        shown = ModelDeploymentStatus.model_validate(status)
        assert summary(shown) == {
            "Ready": "False InvalidSpec", "Available": "False NeverDeployed", "Stalled": "True InvalidSpec"
        }  # fmt: skip
        text = message(shown)
        assert text.startswith("The spec cannot be used: spec.model.uri: 'ftp://x': write where the model is: s3://")
        assert "spec.runtime.limits.queue: Input should be greater than or equal to 1" in text
        assert text.endswith("Correct it. What served before goes on serving.")
        assert shown.observed_generation == 8

    def test_keeps_the_record_of_what_serves(self, model_deployment: Make, status_of: StatusOf) -> None:
        md = model_deployment()
        before = compose(md, status_of(md, "Stable"), pods({revision_hash(md): 2}), NOW).to_wire()
        before["ofALaterVersion"] = {"x": 1}
        before["conditions"].append({"type": "Odd"})
        status = invalid(self.body(**before), PodTemplateError("podTemplate.spec.containers[0] needs name"), NOW)
        assert {key: status[key] for key in ("stable", "rollout", "ofALaterVersion")} == {
            key: before[key] for key in ("stable", "rollout", "ofALaterVersion")
        }
        found = {condition["type"]: condition for condition in status["conditions"]}
        assert found.keys() == {"Ready", "Available", "Stalled"}
        assert found["Available"]["status"] == "True"
        assert "podTemplate.spec.containers[0] needs name" in found["Ready"]["message"]

    def test_says_the_same_at_every_look(self) -> None:
        first = invalid(self.body(), self.error(), NOW)
        assert invalid(self.body(**first), self.error(), NOW + timedelta(minutes=5)) == first


problems = st.sampled_from([None, SECRET, Problem("NotReady", "x"), Problem("OOMKilled", "y", crashed=True)])


@given(
    phase=st.sampled_from(get_args(Phase)),
    candidate=st.booleans(),
    rejected=st.booleans(),
    current=st.booleans(),
    ready=st.tuples(st.integers(0, 3), st.integers(0, 3)),
    problem=problems,
    refusal=st.sampled_from([None, "x is refused"]),
    age=st.integers(0, 10_000),
    message=st.sampled_from(["", "waiting", "weight 5%: holding for 10m."]),
)
def test_whatever_is_decided(
    model_deployment: Make,
    status_of: StatusOf,
    phase: Phase,
    candidate: bool,
    rejected: bool,
    current: bool,
    ready: tuple[int, int],
    problem: Problem | None,
    refusal: str | None,
    age: int,
    message: str,
) -> None:
    md = model_deployment()
    wanted = revision_hash(md)
    stable = wanted if current else OLD
    other = OLD if current else wanted
    decided = status_of(
        md,
        phase,
        stable=RevisionStatus(revision=stable, version="s", replicas=2),
        candidate=RevisionStatus(revision=other, version="c", replicas=2) if candidate else None,
        rejected=[Rejected(revision=wanted, version="1", reason="X", message="why", at=NOW)] if rejected else [],
        rollout={"message": message, "phase_started_at": NOW - timedelta(seconds=age)},
    )
    observed = Observed({
        stable: RevisionPods(stable, 2, ready[0], problem if ready[0] < 2 else None),
        other: RevisionPods(other, 2, ready[1], problem if ready[1] < 2 else None),
    })  # fmt: skip
    shown = compose(md, decided, observed, NOW, refusal)
    conditions = by_type(shown)

    assert [c.type for c in shown.conditions[:2]] == ["Ready", "Available"]
    assert len(shown.conditions) == len(conditions) <= 3
    assert all(conditions[kind].status == "True" for kind in ("Reconciling", "Stalled") if kind in conditions)
    if conditions["Ready"].status == "True":
        assert phase in ("Stable", "Watching")
        assert current
        assert ready[0] > 0
        assert "Stalled" not in conditions
    else:
        assert ("Reconciling" in conditions) != ("Stalled" in conditions), (
            "whoever waits knows whether to go on waiting"
        )
    assert (conditions["Available"].status == "True") is (ready[0] > 0)
    assert all(condition.message and condition.message[-1] in ".!?" for condition in shown.conditions)
    assert all(condition.reason.isalnum() for condition in shown.conditions)
    assert problem_events(shown, decided, observed) == (), "what an Event tells also stands in a condition"
    assert compose(md.model_copy(update={"status": shown}), decided, observed, NOW, refusal) == shown


def test_a_spec_of_which_no_revision_can_be_made_stalls_and_hides_nothing(
    model_deployment: Make, status_of: StatusOf
) -> None:
    md = model_deployment()
    decided = rolling_out(md, status_of, message="weight 25%: holding for 5m")
    shown = compose(md, decided, pods({OLD: 2, revision_hash(md): 2}), NOW, None, "podTemplate.spec must be an object")
    told = {condition.type: condition for condition in shown.conditions}
    assert {kind: (c.status, c.reason) for kind, c in told.items()} == {
        "Ready": ("False", "InvalidSpec"),
        "Available": ("True", "Serving"),
        "Stalled": ("True", "InvalidSpec"),
    }
    assert told["Ready"].message == (
        "The spec cannot be used: podTemplate.spec must be an object. Correct it. Weight 25%: holding for 5m. "
        "Version 0 serves with 2 ready pods."
    )


def test_what_a_newer_operator_wrote_in_status_is_passed_over() -> None:
    """A rollback of the operator must not stop the rollouts that run."""
    known = {"phase": "Progressing", "weight": 5}
    wire = {
        "rollout": {**known, "gauge": "x"},
        "stable": {"revision": "1", "version": "1", "colour": "x"},
        "new": {"a": 1},
    }
    read = ModelDeploymentStatus.model_validate(wire)
    assert (read.rollout.phase, read.rollout.weight) == ("Progressing", 5)
    assert "new" not in read.to_wire()
