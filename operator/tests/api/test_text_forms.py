"""The API server and the operator agree, text by text, on what is well written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from haldane.api import forms, quantity

if TYPE_CHECKING:
    from collections.abc import Callable

    from e2e.apiserver.rest import Body, Rest

pytestmark = pytest.mark.api

CHECK = "spec.rollout.checks[0]"
FIELDS: dict[str, Any] = {
    # where the form is asked for, and the form
    "spec.model.uri": forms.ModelUri,
    "spec.model.version": forms.Version,
    "spec.model.sha256": forms.Sha256,
    "spec.runtime.serviceAccountName": forms.ObjectName,
    "spec.model.s3.endpoint": forms.Endpoint,
    "spec.model.s3.region": forms.Region,
    "spec.runtime.image": forms.ImageReference,
    "spec.runtime.env[0].name": forms.VariableName,
    "spec.runtime.limits.requestTimeout": quantity.RequestTimeout,
    "spec.rollout.progressDeadline": quantity.PositiveDuration,
    "spec.runtime.limits.requestBytes": quantity.Bytes,
    "spec.runtime.batching.maxDelay": quantity.BatchDelay,
    "spec.runtime.responseCache.url": forms.RedisUrl,
    "spec.runtime.responseCache.ttl": quantity.Interval,
    "spec.runtime.requestLog.sample": quantity.Percent,
    "spec.scaling.metrics[0].target": forms.MetricTarget,
    "spec.traffic.host": forms.DnsName,
    "spec.traffic.path": forms.UrlPath,
    "spec.rollout.keepStableFor": quantity.Duration,
    "spec.rollout.analysis.interval": quantity.Interval,
    f"{CHECK}.errorRate.max": quantity.Percent,
    "spec.rollout.checks[1].latency.maxIncrease": quantity.Increase,
    "spec.rollout.checks[1].latency.quantile": quantity.Quantile,
    "spec.rollout.checks[2].query.max": quantity.Number,
}
SHORTEST_LIMIT = 16
"""A text that is too long for one field would keep the API server from trying the rules of all."""

WELL_WRITTEN = [
    *("0s", "10s", "1h30m", "250ms", "1.5h", "0.001ms", "8760h", "8761h", "30m1h", "0ms", "999ms", "1s", "0h0m0s"),
    *("0%", "0.5%", "99.99%", "100%", "100.0%", "100.1%", "101%", "00%", "250%"),
    *(
        "64Mi",
        "67108864",
        "0",
        "1G",
        "1k",
        "64MB",
        "1.5Gi",
        "500m",
        "1e3",
        "1E3",
        "1Ti",
        ".5",
        "5.",
        "+1",
        "-1",
        "1e-3",
    ),
    *("0.99", "0.999", "0.0", "1.0", "0.50", "-0.5", "1e99", "1e100", "1E+9", "70%", "0001"),
    *("/", "/fraud", "/a/b/", "//", "/.", "/..", "/a/../b", "/.a", "/a%20b", "/a b", "fraud"),
    *("fraud", "a.b-c", "a..b", "-a", "a-", "A", "a_b", "2.1.0", "v1+b", "eu-central-1", "a/b:1@c", "HALDANE_X", "1A"),
    *("s3://a/b", "s3://a", "s3:///b", "https://a/b", "http://a", "https://a", "http://a:1", "http://a/", "file:///a"),
    *(
        "pvc://a/b",
        "pvc://a",
        "pvc://a/",
        "pvc://a.b/c",
        "pvc://A/b",
        "pvc://a/b?c",
        "pvc:///a/b",
        "pvc://a/b c",
        "10.001s",
    ),
    *(
        "redis://a",
        "redis://a:1/0",
        "rediss://a/",
        "redis://u:p@a",
        "redis://a/b",
        "redis:/a",
        "unix:///a",
        "redis://a?b",
    ),
    *("", " ", "10s\n", "10 s", "\uff11\uff10s", "\u0663s", "é", "a\tb", "s3://a/\n", "s3://a/é"),
]


def well_written(form: Any, text: str) -> bool:
    try:
        TypeAdapter(Annotated[form, ...]).validate_python(text)
    except ValidationError:
        return False
    return True


def fields(text: str) -> dict[str, Any]:
    return {
        "model.uri": text,
        "model.version": text,
        "model.sha256": text,
        "runtime.serviceAccountName": text,
        "model.s3": {"endpoint": text, "region": text},
        "runtime.image": text,
        "runtime.env": [{"name": text}],
        "runtime.limits": {"requestTimeout": text, "requestBytes": text},
        "runtime.batching": {"maxDelay": text},
        "runtime.responseCache": {"url": text, "ttl": text},
        "runtime.requestLog": {"sample": text},
        "scaling.metrics": [{"type": "CPU", "target": text}],
        "traffic": {"host": text, "path": text},
        "rollout.keepStableFor": text,
        "rollout.progressDeadline": text,
        "rollout.analysis": {"interval": text, "window": "8760h"},
        "rollout.checks": [
            {"name": "errors", "errorRate": {"max": text}},
            {"name": "p99", "latency": {"maxIncrease": text, "quantile": text}},
            {"name": "mean", "query": {"promql": "x", "max": text}},
        ],
    }


def with_examples(test: Any) -> Any:
    for text in WELL_WRITTEN:
        test = example(text)(test)
    return test


@with_examples
@given(st.text(alphabet="0123456789.%-+/:_@ \nmshkKMGiEe", max_size=SHORTEST_LIMIT))
@settings(
    max_examples=100, derandomize=True, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_what_one_refuses_the_other_refuses(
    rest: Rest, crd_installed: None, model_deployment: Callable[..., Body], text: str
) -> None:
    answer = rest.create("default", model_deployment(fields(text)), dryRun="All")
    refused = {field for field, _ in answer.refusals}

    for field, form in FIELDS.items():
        assert (field not in refused) == well_written(form, text), (field, text, answer.refusals)
