"""A batch gives every object what its own query would have given it, for any objects, windows, restarts and scrapes."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote_plus

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from haldane.api.v1alpha1 import ModelDeployment
from haldane.plan.batches import LONGEST, halves, pack, split, text
from haldane.plan.observed import Series, Unavailable
from haldane.plan.queries import Increase, durations, requests
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
owners = st.sampled_from(sorted(MODELS))
queries = st.tuples(
    owners,
    st.sampled_from([requests, durations]),
    st.lists(st.sampled_from(REVISIONS), min_size=1, max_size=2, unique=True),
    st.sampled_from([20, 60, 61, 300]),
)


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
            ):
                second, count, samples = 600.0, 0.0, []
                for gained, passed, restarted in draw(counters):
                    second, count = second + passed, gained + (0.0 if restarted else count)
                    samples.append((second, count))
                labels = {"model_namespace": namespace, "model": name, "revision": revision, "pod": str(pod)}
                made.samples.append((metric, {**labels, label: value}, samples))
    return made


@settings(max_examples=150, deadline=None)
@given(
    worlds(), st.lists(queries, min_size=1, max_size=12), st.integers(600, 900), st.sampled_from([400, 900, LONGEST])
)
def test_a_batch_answers_as_each_query_alone(prometheus: Prometheus, wanted: list, at: int, longest: int) -> None:  # type: ignore[type-arg]
    asked = [ask(MODELS[owner], tuple(revisions), window) for owner, ask, revisions, window in wanted]
    packed = pack(asked, longest)
    assert sorted(query for batch in packed for query in batch) == sorted(set(asked))
    for batch in packed:
        answers = split(batch, prometheus.ask(text(batch), at))
        assert answers.keys() == set(batch)
        for query, answer in answers.items():
            assert not isinstance(answer, Unavailable)
            alone = prometheus.ask(query, at)
            assert sorted(answer, key=repr) == sorted(alone, key=repr), (query, text(batch))
            if query.by == "code":
                assert read_requests(answer) == read_requests(alone)
            else:
                assert read_durations(answer) == read_durations(alone)


def test_a_thousand_objects_of_one_age_need_few_queries() -> None:
    asked = [
        requests(model("team-a", f"model-{number:04d}"), (f"a{number:09d}", f"b{number:09d}"), 60)
        for number in range(1000)
    ]
    packed = pack(asked)
    assert len(packed) <= 8
    assert all(len(quote_plus(text(batch))) <= LONGEST for batch in packed)


def test_a_thousand_objects_of_many_ages_still_share_queries() -> None:
    asked = [
        durations(model("team-a", f"model-{number:04d}"), (f"a{number:09d}", f"b{number:09d}"), 60 + number)
        for number in range(1000)
    ]
    packed = pack(asked)
    assert len(packed) <= 60
    assert all(len(quote_plus(text(batch))) <= LONGEST for batch in packed)


def test_packing_does_not_depend_on_the_order_in_which_objects_ask() -> None:
    asked = [requests(MODELS[owner], REVISIONS[:2], window) for owner in MODELS for window in (20, 60)]
    assert pack(asked, 900) == pack(reversed(asked), 900)


def test_one_query_stays_as_it_is_written() -> None:
    alone = requests(MODELS["a", "fraud"], REVISIONS[:2], 60)
    assert text([alone]) is alone
    answer = (Series({"revision": REVISIONS[0], "code": "200"}, 3.0),)
    assert split([alone], answer) == {alone: answer}


def test_what_a_batch_is_refused_concerns_each_of_its_queries() -> None:
    batch = [requests(MODELS[owner], REVISIONS[:1], 60) for owner in MODELS]
    refused = Unavailable("too many samples")
    assert split(batch, refused) == dict.fromkeys(batch, refused)


@pytest.mark.parametrize("size", [2, 3, 8])
def test_halves_are_the_whole(size: int) -> None:
    batch: list[Increase] = [requests(MODELS["a", "fraud"], REVISIONS[:1], window) for window in range(1, size + 1)]
    first, second = halves(batch)
    assert [*first, *second] == batch
    assert abs(len(first) - len(second)) <= 1
