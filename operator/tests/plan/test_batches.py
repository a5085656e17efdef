"""A batch gives every object what its own query would have given it, for any objects, windows, restarts and scrapes."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote_plus

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from haldane.api.v1alpha1 import ModelDeployment
from haldane.plan.batches import LONGEST, Batch, Question, pack
from haldane.plan.observed import Series, Unavailable
from haldane.plan.queries import Counted, durations, requests, scraped_before
from haldane.plan.queries import scraped as scraped_by_now
from haldane.plan.samples import read_durations, read_requests

if TYPE_CHECKING:
    from .promql import Prometheus

NAMES = ("fraud", "fraud.v2", "fraudxv2", "churn")
NAMESPACES = ("a", "b")
REVISIONS = ("0000000001", "0000000002", "0000000003")


def model(namespace: str, name: str) -> ModelDeployment:
    body = {"apiVersion": "haldane.dev/v1alpha1", "kind": "ModelDeployment"}
    metadata = {"name": name, "namespace": namespace, "uid": "u", "generation": 1}
    spec = {"model": {"uri": "s3://models/a", "version": "1"}}
    return ModelDeployment.from_wire({**body, "metadata": metadata, "spec": spec})


MODELS = {(namespace, name): model(namespace, name) for namespace in NAMESPACES for name in NAMES}

counters = st.lists(
    st.tuples(st.integers(0, 40), st.integers(1, 60), st.sampled_from([0, 0, 0, 1])), min_size=0, max_size=6
)


def runs(md: ModelDeployment, revisions: tuple[str, ...], window: int) -> Counted:
    """One series a revision."""
    return Counted("haldane_inference_seconds_count", "", md, revisions, window)


def scraped(md: ModelDeployment, revisions: tuple[str, ...], window: int) -> Counted:
    """What was counted by the last scrape has no window."""
    del window
    return scraped_by_now(md, revisions)


owners = st.sampled_from(sorted(MODELS))
questions = st.tuples(
    owners,
    st.sampled_from([requests, durations, runs, scraped, scraped_before]),
    st.lists(st.sampled_from(REVISIONS), min_size=1, max_size=2, unique=True),
    st.sampled_from([20, 60, 61, 300]),
    st.sampled_from([600, 700, 733, 900]),
)


def at(second: float) -> datetime:
    return datetime.fromtimestamp(second, UTC)


@st.composite
def worlds(draw: st.DrawFn) -> Prometheus:
    """Pods of any of the objects' revisions, scraped now and then, restarted now and then."""
    from .promql import Prometheus

    made = Prometheus()
    for (namespace, name), revision in draw(
        st.lists(st.tuples(owners, st.sampled_from(REVISIONS)), max_size=8, unique=True)
    ):
        for pod in range(draw(st.integers(1, 2))):
            for metric, label, value in (
                ("haldane_requests_total", "code", "200"),
                ("haldane_requests_total", "code", "500"),
                ("haldane_request_duration_seconds_bucket", "le", "0.1"),
                ("haldane_request_duration_seconds_bucket", "le", "+Inf"),
                ("haldane_inference_seconds_count", "instance", "a"),
            ):
                second, count, samples = 600.0, 0.0, []
                for gained, passed, restarted in draw(counters):
                    second, count = second + passed, gained + (0.0 if restarted else count)
                    samples.append((second, count))
                labels = {"model_namespace": namespace, "model": name, "revision": revision, "pod": str(pod)}
                made.samples.append((metric, {**labels, label: value}, samples))
    return made


@settings(max_examples=60, deadline=None)
@given(worlds(), st.lists(questions, min_size=1, max_size=12), st.sampled_from([400, 900, LONGEST]))
def test_a_batch_answers_as_each_query_alone(prometheus: Prometheus, wanted: list[Any], longest: int) -> None:
    asked = [
        Question(ask(MODELS[owner], tuple(revisions), window), at(second))
        for owner, ask, revisions, window, second in wanted
    ]
    packed = pack(asked, longest)
    assert sorted(question for batch in packed for question in batch.questions) == sorted(set(asked))
    for batch in packed:
        answers = batch.split(prometheus.ask(batch.promql, batch.at.timestamp()))
        assert answers.keys() == set(batch.questions)
        for question, answer in answers.items():
            assert not isinstance(answer, Unavailable)
            alone = prometheus.ask(question.query, question.at.timestamp())
            assert sorted(answer, key=repr) == sorted(alone, key=repr), (question, batch.promql)
            if question.query.by == "code":
                assert read_requests(answer) == read_requests(alone)
            elif question.query.by:
                assert read_durations(answer) == read_durations(alone)


def thousand(ask: Callable[..., Counted], window: Callable[[int], int]) -> list[Question]:
    """One question each of a thousand objects."""
    one, made = MODELS["a", "fraud"], []
    for number in range(1000):
        md = one.model_copy(update={"metadata": one.metadata.model_copy(update={"name": f"model-{number:04d}"})})
        made.append(Question(ask(md, (f"a{number:09d}", f"b{number:09d}"), window(number)), at(900)))
    return made


@pytest.mark.parametrize(
    ("questions", "most"),
    [
        (thousand(requests, lambda number: 60), 8),
        (thousand(scraped, lambda number: 60), 8),
        (thousand(durations, lambda number: 60 + number), 60),
    ],
    ids=["of one age", "of any", "of as many ages"],
)
def test_a_thousand_objects_share_a_few_queries(questions: list[Question], most: int) -> None:
    packed = pack(questions)
    assert len(packed) <= most
    assert all(len(quote_plus(batch.promql)) <= LONGEST for batch in packed)


def test_packing_does_not_depend_on_the_order_in_which_objects_ask() -> None:
    asked = [Question(requests(MODELS[owner], REVISIONS[:2], window), at(9)) for owner in MODELS for window in (20, 60)]
    assert pack(asked, 900) == pack(reversed(asked), 900)


def test_a_query_alone_stays_as_it_is_written() -> None:
    alone = Question(requests(MODELS["a", "fraud"], REVISIONS[:2], 60), at(9))
    (batch,) = pack([alone])
    assert batch.promql is alone.query
    answer = (Series({"revision": REVISIONS[0], "code": "200"}, 3.0),)
    assert batch.split(answer) == {alone: answer}


def test_what_a_batch_is_refused_concerns_each_of_its_questions() -> None:
    batch = Batch(tuple(Question(requests(MODELS[owner], REVISIONS[:1], 60), at(9)) for owner in MODELS))
    refused = Unavailable("too many samples")
    assert batch.split(refused) == dict.fromkeys(batch.questions, refused)


@pytest.mark.parametrize("size", [2, 3, 8])
def test_halves_are_the_whole(size: int) -> None:
    asked = [Question(requests(MODELS["a", "fraud"], REVISIONS[:1], window), at(9)) for window in range(1, size + 1)]
    first, second = Batch(tuple(asked)).halves()
    assert [*first.questions, *second.questions] == asked
    assert abs(len(first.questions) - len(second.questions)) <= 1
