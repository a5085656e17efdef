"""Bad input is refused by a real API server, each time with the one sentence that says what to write instead."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from e2e.apiserver.rest import Body, Rest

pytestmark = pytest.mark.api

URI = "write where the model is: s3://bucket/key, https://host/path, pvc://claim/path or file:///path"
VERSION = (
    "write a version of letters, digits, -, _ and . that starts and ends with a letter or digit, for example 2.1.0"
)
SHA256 = "write the 64 lower-case hex digits that sha256sum prints, without sha256:"
OBJECT = "write the name of an object: lower-case letters, digits, - and ., for example s3-models"
ENDPOINT = "write the URL of the S3 API without a path, for example https://minio.example.com:9000"
REGION = "write the name of a region, for example eu-central-1"
IMAGE = "write an image, for example registry.example.com/haldane/runtime:1.0"
QUANTITY = "write a Kubernetes quantity, for example 500m, 2 or 1Gi"
BYTES = "write whole bytes or a number with Ki, Mi or Gi, below 1000Gi, for example 64Mi"
DURATION = "write a duration with a unit (ms, s, m or h) of at most 8760h, for example 30s or 1h30m"
POSITIVE = "write a duration above 0 with its unit, at most 8760h, for example 30s"
REQUEST_TIMEOUT = "write a duration from 1ms to 1h with its unit, for example 10s"
QUEUE_DELAY = "write auto or a duration from 1ms to 1h with its unit, for example 100ms"
BATCH_DELAY = "write a duration from 0s to 10s with its unit, for example 2ms"
QUEUE_BYTES = "limits.queueBytes must be at least limits.requestBytes: raise queueBytes or lower requestBytes"
REDIS = "write the URL of a Redis without a password, for example redis://cache:6379, or name a Secret with secretRef"
ONE_CACHE = "responseCache needs url or secretRef, not both: write where the Redis is, or the Secret that says so"
NO_GPU = "TensorRT and CUDA in session.providers need a GPU: write device: gpu, or leave them out"
ONLY_CPU = "device: gpu needs TensorRT or CUDA in session.providers: add one, or write device: cpu"
PROVIDERS = "session.providers: name each once, and CPU last"
TOLERANCE = "session.precisionTolerance is for precision fp16 and int8: write one of them, or leave it out"
VARIABLE = "write the name of an environment variable, for example OMP_NUM_THREADS"
RESERVED = "names that start with HALDANE_ are set by Haldane: choose another name"
TARGET = "write a share of the request, for example 70%, or an amount a pod, for example 500m or 1Gi"
REPLICAS = "maxReplicas must be at least minReplicas: raise maxReplicas or lower minReplicas"
HOST = "write a DNS name: lower-case letters, digits, - and ., for example models.example.com"
ROUTE = "traffic.host and traffic.ingress belong together: write both, or leave out traffic"
PATH = "write a path of letters, digits, ., _, ~ and - that starts with /, for example /fraud"
CANARY = "nginx.ingress.kubernetes.io/canary* annotations are set by Haldane: use rollout.steps instead"
RISING = "the weights of rollout.steps must rise from step to step, for example 5, 25, 50"
WINDOW = "analysis.window must be at least analysis.interval: no request may fall between two looks"
INTERVAL = "write a duration from 1s to 8760h with its unit, for example 30s"
CHECK_NAME = "write a name of lower-case letters, digits and -, for example errors or p99"
CHECK_NAMES = "names in rollout.checks must differ: give each check its own name"
ONE_KIND = "a check is exactly one of errorRate, latency, proportion and query: split it into several checks"
PERCENT = "write a percentage from 0% to 100% with its sign, for example 0.5%"
INCREASE = "write a percentage with its sign, for example 20%"
QUANTILE = 'write a quantile between 0 and 1 as a string, for example "0.99"'
NUMBER = 'write a number as a string, for example "0.3"'
PLACEHOLDER = (
    "query.promql has an unknown placeholder: use {{model}}, {{namespace}}, {{revision}} and {{window}}, without spaces"
)

ONE_SWITCH = "write one step of weight 0 for BlueGreen, or leave out rollout.steps"
HEADER = "spec.traffic.ingress.previewHeader"
HEADER_NAME = "write the name of an HTTP header, for example X-Preview"

NOT_CHECKED = {
    (
        "<nil>",
        "Invalid value: null: some validation rules were not checked because the object was invalid;"
        " correct the existing errors to complete validation",
    )
}
"""Added by the API server where a value of the wrong type or size keeps it from trying the rules."""

STEPS = "spec.rollout.steps"
CHECKS = "spec.rollout.checks"
GOLDEN = "spec.model.golden.requests"
INGRESS = {"traffic.host": "fraud.example.com"}


def steps(*weights: int) -> dict[str, Any]:
    return {"rollout.steps": [{"weight": weight, "hold": "1m"} for weight in weights]}


def checks(*made: dict[str, Any]) -> dict[str, Any]:
    return {"rollout.checks": [{"name": f"check-{number}", **check} for number, check in enumerate(made)]}


def query(**fields: str) -> dict[str, Any]:
    return checks({"query": {"promql": "vector(1)", **fields}})


CASES: dict[str, tuple[dict[str, Any], str, str]] = {
    # fields of spec, the field that is refused, the sentence
    "no model": ({"model": None}, "spec.model", "Required value"),
    "no uri": ({"model.uri": None}, "spec.model.uri", "Required value"),
    "uri of another scheme": ({"model.uri": "gs://models/fraud"}, "spec.model.uri", URI),
    "uri with one slash": ({"model.uri": "s3:/models/fraud"}, "spec.model.uri", URI),
    "bucket without a key": ({"model.uri": "s3://models"}, "spec.model.uri", URI),
    "unencrypted http": ({"model.uri": "http://example.com/fraud.onnx"}, "spec.model.uri", URI),
    "relative file": ({"model.uri": "file://fraud.onnx"}, "spec.model.uri", URI),
    "uri too long": (
        {"model.uri": "s3://m/" + "k" * 2048},
        "spec.model.uri",
        "Too long: may not be more than 2048 bytes",
    ),
    "version with a slash": ({"model.version": "2/1"}, "spec.model.version", VERSION),
    "version as a number": (
        {"model.version": 2.1},
        "spec.model.version",
        'spec.model.version in body must be of type string: "number"',
    ),
    "sha256 of 63 digits": ({"model.sha256": "a" * 63}, "spec.model.sha256", SHA256),
    "sha256 in capitals": ({"model.sha256": "A" * 64}, "spec.model.sha256", SHA256),
    "sha256 with its prefix": ({"model.sha256": "sha256:" + "a" * 64}, "spec.model.sha256", SHA256),
    "secret with capitals": ({"model.credentialsSecret": "S3"}, "spec.model.credentialsSecret", OBJECT),
    "secret for https": (
        {"model.uri": "https://example.com/fraud.onnx", "model.credentialsSecret": "s3-models"},
        "spec.model.credentialsSecret",
        "model.credentialsSecret is for s3:// models: leave it out, or write an s3:// uri",
    ),
    "endpoint for file": (
        {"model.uri": "file:///models/fraud.onnx", "model.s3.region": "eu-central-1"},
        "spec.model.s3",
        "model.s3 is for s3:// models: leave it out, or write an s3:// uri",
    ),
    "endpoint with a path": (
        {"model.s3.endpoint": "https://s3.example.com/models"},
        "spec.model.s3.endpoint",
        ENDPOINT,
    ),
    "endpoint without a scheme": ({"model.s3.endpoint": "minio:9000"}, "spec.model.s3.endpoint", ENDPOINT),
    "region with a space": ({"model.s3.region": "eu central"}, "spec.model.s3.region", REGION),
    "another device": (
        {"runtime.device": "tpu"},
        "spec.runtime.device",
        'Unsupported value: "tpu": supported values: "cpu", "gpu"',
    ),
    "image with a space": ({"runtime.image": "haldane runtime"}, "spec.runtime.image", IMAGE),
    "memory in words": (
        {"runtime.resources.limits": {"memory": "2 GB"}},
        "spec.runtime.resources.limits[memory]",
        QUANTITY,
    ),
    "memory below zero": (
        {"runtime.resources.limits": {"memory": "-1Gi"}},
        "spec.runtime.resources.limits[memory]",
        QUANTITY,
    ),
    "processors below zero": (
        {"runtime.resources.requests": {"cpu": -1}},
        "spec.runtime.resources.requests[cpu]",
        QUANTITY,
    ),
    "request above limit": (
        {"runtime.resources": {"requests": {"cpu": "1500m"}, "limits": {"cpu": 1}}},
        "spec.runtime.resources.requests",
        "resources.requests must not be above resources.limits: raise the limit or lower the request",
    ),
    "body size in MB": ({"runtime.limits.requestBytes": "64MB"}, "spec.runtime.limits.requestBytes", BYTES),
    "body size of zero": ({"runtime.limits.requestBytes": "0"}, "spec.runtime.limits.requestBytes", BYTES),
    "body size as a fraction": ({"runtime.limits.requestBytes": "1.5Gi"}, "spec.runtime.limits.requestBytes", BYTES),
    "body size beyond what the runtime takes": (
        {"runtime.limits.requestBytes": "1000Gi"},
        "spec.runtime.limits.requestBytes",
        BYTES,
    ),
    "timeout beyond what the runtime takes": (
        {"runtime.limits.requestTimeout": "61m"},
        "spec.runtime.limits.requestTimeout",
        REQUEST_TIMEOUT,
    ),
    "timeout without a unit": (
        {"runtime.limits.requestTimeout": "10"},
        "spec.runtime.limits.requestTimeout",
        REQUEST_TIMEOUT,
    ),
    "timeout in days": ({"runtime.limits.requestTimeout": "1d"}, "spec.runtime.limits.requestTimeout", REQUEST_TIMEOUT),
    "timeout of ages": (
        {"runtime.limits.requestTimeout": "99999999h"},
        "spec.runtime.limits.requestTimeout",
        REQUEST_TIMEOUT,
    ),
    "deadline of a year and an hour": (
        {"rollout.progressDeadline": "8761h"},
        "spec.rollout.progressDeadline",
        POSITIVE,
    ),
    "timeout of zero": ({"runtime.limits.requestTimeout": "0s"}, "spec.runtime.limits.requestTimeout", REQUEST_TIMEOUT),
    "queue of zero": (
        {"runtime.limits.queue": 0},
        "spec.runtime.limits.queue",
        "spec.runtime.limits.queue in body should be greater than or equal to 1",
    ),
    "claim without a path": ({"model.uri": "pvc://models"}, "spec.model.uri", URI),
    "claim that is no name": ({"model.uri": "pvc://My_Models/m.onnx"}, "spec.model.uri", URI),
    "claim with a query": ({"model.uri": "pvc://models/m.onnx?v=1"}, "spec.model.uri", URI),
    "secret for a claim": (
        {"model.uri": "pvc://models/m.onnx", "model.credentialsSecret": "s3-models"},
        "spec.model.credentialsSecret",
        "model.credentialsSecret is for s3:// models: leave it out, or write an s3:// uri",
    ),
    "golden without requests": (
        {"model.golden": {"requests": []}},
        GOLDEN,
        f"{GOLDEN} in body should have at least 1 items",
    ),
    "golden request without an answer": (
        {"model.golden": {"requests": [{"inputs": [{"name": "x"}]}]}},
        f"{GOLDEN}[0].outputs",
        "Required value",
    ),
    "golden tolerance below zero": (
        {"model.golden": {"requests": [{"inputs": [{}], "outputs": [{}]}], "tolerance": {"relative": -0.1}}},
        "spec.model.golden.tolerance.relative",
        "spec.model.golden.tolerance.relative in body should be greater than or equal to 0",
    ),
    "batch of nothing": (
        {"runtime.batching.maxBatchSize": 0},
        "spec.runtime.batching.maxBatchSize",
        "spec.runtime.batching.maxBatchSize in body should be greater than or equal to 1",
    ),
    "batch of too much": (
        {"runtime.batching.maxBatchSize": 4097},
        "spec.runtime.batching.maxBatchSize",
        "spec.runtime.batching.maxBatchSize in body should be less than or equal to 4096",
    ),
    "batch delay without a unit": ({"runtime.batching.maxDelay": "2"}, "spec.runtime.batching.maxDelay", BATCH_DELAY),
    "batch delay of ages": ({"runtime.batching.maxDelay": "10.001s"}, "spec.runtime.batching.maxDelay", BATCH_DELAY),
    "queue smaller than a request": (
        {"runtime.limits": {"queueBytes": "1Mi", "requestBytes": "2M"}},
        "spec.runtime.limits.queueBytes",
        QUEUE_BYTES,
    ),
    "queue smaller than a request by default": (
        {"runtime.limits.queueBytes": "65535Ki"},
        "spec.runtime.limits.queueBytes",
        QUEUE_BYTES,
    ),
    "queue in MB": ({"runtime.limits.queueBytes": "64MB"}, "spec.runtime.limits.queueBytes", BYTES),
    "queue delay of zero": ({"runtime.limits.queueDelay": "0s"}, "spec.runtime.limits.queueDelay", QUEUE_DELAY),
    "queue delay of two words": (
        {"runtime.limits.queueDelay": "auto1s"},
        "spec.runtime.limits.queueDelay",
        QUEUE_DELAY,
    ),
    "CUDA without a GPU": (
        {"runtime.session.providers": ["CUDA", "CPU"]},
        "spec.runtime.session.providers",
        NO_GPU,
    ),
    "a GPU without CUDA": (
        {"runtime.device": "gpu", "runtime.session.providers": ["CPU"]},
        "spec.runtime.session.providers",
        ONLY_CPU,
    ),
    "provider twice": (
        {"runtime.session.providers": ["CPU", "CPU"]},
        "spec.runtime.session.providers",
        PROVIDERS,
    ),
    "a provider after CPU": (
        {"runtime.device": "gpu", "runtime.session.providers": ["TensorRT", "CPU", "CUDA"]},
        "spec.runtime.session.providers",
        PROVIDERS,
    ),
    "provider that is not known": (
        {"runtime.session.providers": ["cpu"]},
        "spec.runtime.session.providers[0]",
        'Unsupported value: "cpu": supported values: "TensorRT", "CUDA", "CPU"',
    ),
    "no providers": (
        {"runtime.session.providers": []},
        "spec.runtime.session.providers",
        "spec.runtime.session.providers in body should have at least 1 items",
    ),
    "precision that is not known": (
        {"runtime.session.precision": "bf16"},
        "spec.runtime.session.precision",
        'Unsupported value: "bf16": supported values: "fp32", "fp16", "int8"',
    ),
    "tolerance without a precision": (
        {"runtime.session.precisionTolerance": "1%"},
        "spec.runtime.session.precisionTolerance",
        TOLERANCE,
    ),
    "tolerance of fp32": (
        {"runtime.session": {"precision": "fp32", "precisionTolerance": "1%"}},
        "spec.runtime.session.precisionTolerance",
        TOLERANCE,
    ),
    "tolerance without a sign": (
        {"runtime.session": {"precision": "fp16", "precisionTolerance": "0.01"}},
        "spec.runtime.session.precisionTolerance",
        PERCENT,
    ),
    "gRPC as a port": (
        {"runtime.grpc": {"enabled": 8081}},
        "spec.runtime.grpc.enabled",
        'spec.runtime.grpc.enabled in body must be of type boolean: "integer"',
    ),
    "cache nowhere": ({"runtime.responseCache": {"ttl": "1m"}}, "spec.runtime.responseCache", ONE_CACHE),
    "cache in two places": (
        {"runtime.responseCache": {"url": "redis://cache:6379", "secretRef": {"name": "redis"}}},
        "spec.runtime.responseCache",
        ONE_CACHE,
    ),
    "cache with its password": (
        {"runtime.responseCache.url": "redis://:secret@cache:6379"},
        "spec.runtime.responseCache.url",
        REDIS,
    ),
    "cache without a scheme": ({"runtime.responseCache.url": "cache:6379"}, "spec.runtime.responseCache.url", REDIS),
    "cache in a Secret without a name": (
        {"runtime.responseCache": {"secretRef": {"key": "url"}}},
        "spec.runtime.responseCache.secretRef.name",
        "Required value",
    ),
    "cache under a key with a slash": (
        {"runtime.responseCache": {"secretRef": {"name": "redis", "key": "a/b"}}},
        "spec.runtime.responseCache.secretRef.key",
        "write a key of the Secret, for example url",
    ),
    "answers kept for no time": (
        {"runtime.responseCache": {"url": "redis://cache:6379", "ttl": "0s"}},
        "spec.runtime.responseCache.ttl",
        INTERVAL,
    ),
    "log without a share": ({"runtime.requestLog": {}}, "spec.runtime.requestLog.sample", "Required value"),
    "log of more than all": ({"runtime.requestLog.sample": "101%"}, "spec.runtime.requestLog.sample", PERCENT),
    "variable of Haldane's": (
        {"runtime.env": [{"name": "HALDANE_PORT", "value": "1"}]},
        "spec.runtime.env[0].name",
        RESERVED,
    ),
    "variable with a space": ({"runtime.env": [{"name": "MY NAME"}]}, "spec.runtime.env[0].name", VARIABLE),
    "variable with two sources": (
        {"runtime.env": [{"name": "A", "value": "1", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]},
        "spec.runtime.env[0]",
        "an environment variable has value or valueFrom, not both: leave one out",
    ),
    "no replicas": (
        {"scaling.minReplicas": 0},
        "spec.scaling.minReplicas",
        "spec.scaling.minReplicas in body should be greater than or equal to 1",
    ),
    "fewer at most than at least": (
        {"scaling": {"minReplicas": 3, "maxReplicas": 2}},
        "spec.scaling.maxReplicas",
        REPLICAS,
    ),
    "metric without a unit of its own": (
        {"scaling.metrics": [{"type": "CPU", "target": "0.7"}]},
        "spec.scaling.metrics[0].target",
        TARGET,
    ),
    "metric that is not known": (
        {"scaling.metrics": [{"type": "GPU", "target": "70%"}]},
        "spec.scaling.metrics[0].type",
        'Unsupported value: "GPU": supported values: "CPU", "Memory"',
    ),
    "metric twice": (
        {"scaling.metrics": [{"type": "CPU", "target": "70%"}, {"type": "CPU", "target": "500m"}]},
        "spec.scaling.metrics",
        "types in scaling.metrics must differ: leave one of them out",
    ),
    "host without ingress": ({"traffic.host": "fraud.example.com"}, "spec.traffic", ROUTE),
    "ingress without host": ({"traffic.ingress": {"className": "nginx"}}, "spec.traffic", ROUTE),
    "host with a scheme": (
        {"traffic": {"host": "https://fraud.example.com", "ingress": {}}},
        "spec.traffic.host",
        HOST,
    ),
    "host with a port": ({"traffic": {"host": "fraud.example.com:80", "ingress": {}}}, "spec.traffic.host", HOST),
    "path without a slash": ({"traffic.path": "fraud"}, "spec.traffic.path", PATH),
    "path that climbs": ({"traffic.path": "/models/../admin"}, "spec.traffic.path", PATH),
    "canary annotation": (
        {**INGRESS, "traffic.ingress": {"annotations": {"nginx.ingress.kubernetes.io/canary-weight": "50"}}},
        "spec.traffic.ingress.annotations",
        CANARY,
    ),
    "weights that fall": (steps(50, 25), STEPS, RISING),
    "weights that stay": (steps(5, 5, 50), STEPS, RISING),
    "weight below 0": (
        steps(-1, 50),
        f"{STEPS}[0].weight",
        f"{STEPS}[0].weight in body should be greater than or equal to 0",
    ),
    "BlueGreen by steps": ({**steps(5, 50), "rollout.strategy": "BlueGreen"}, STEPS, ONE_SWITCH),
    "Recreate with a look at what is not there yet": ({**steps(0), "rollout.strategy": "Recreate"}, STEPS, ONE_SWITCH),
    "header with a colon": ({**INGRESS, "traffic.ingress": {"previewHeader": "X-Preview:"}}, HEADER, HEADER_NAME),
    "weight of 101": (
        steps(50, 101),
        f"{STEPS}[1].weight",
        f"{STEPS}[1].weight in body should be less than or equal to 100",
    ),
    "no steps": (steps(), STEPS, f"{STEPS} in body should have at least 1 items"),
    "too many steps": (steps(*range(1, 22)), STEPS, "Too many: 21: must have at most 20 items"),
    "step without a hold": ({"rollout.steps": [{"weight": 5}]}, f"{STEPS}[0].hold", "Required value"),
    "hold without a unit": ({"rollout.steps": [{"weight": 5, "hold": "600"}]}, f"{STEPS}[0].hold", DURATION),
    "hold as a number": (
        {"rollout.steps": [{"weight": 5, "hold": 600}]},
        f"{STEPS}[0].hold",
        f'{STEPS}[0].hold in body must be of type string: "integer"',
    ),
    "window below interval": (
        {"rollout.analysis": {"interval": "1m", "window": "59s"}},
        "spec.rollout.analysis.window",
        WINDOW,
    ),
    "window below the default interval": ({"rollout.analysis.window": "10s"}, "spec.rollout.analysis.window", WINDOW),
    "window without a unit": ({"rollout.analysis.window": "120"}, "spec.rollout.analysis.window", POSITIVE),
    "interval of a moment": ({"rollout.analysis.interval": "10ms"}, "spec.rollout.analysis.interval", INTERVAL),
    "no requests at least": (
        {"rollout.analysis.minRequests": 0},
        "spec.rollout.analysis.minRequests",
        "spec.rollout.analysis.minRequests in body should be greater than or equal to 1",
    ),
    "inconclusive without a decision": (
        {"rollout.analysis.onInconclusive": "Pause"},
        "spec.rollout.analysis.onInconclusive",
        'Unsupported value: "Pause": supported values: "Hold", "Promote", "Rollback"',
    ),
    "check of no kind": (checks({}), f"{CHECKS}[0]", ONE_KIND),
    "check of two kinds": (checks({"errorRate": {"max": "1%"}, "latency": {"max": "1s"}}), f"{CHECKS}[0]", ONE_KIND),
    "check without a name": (
        {"rollout.checks": [{"errorRate": {"max": "1%"}}]},
        f"{CHECKS}[0].name",
        "Required value",
    ),
    "check named in capitals": (
        {"rollout.checks": [{"name": "P99", "latency": {"max": "1s"}}]},
        f"{CHECKS}[0].name",
        CHECK_NAME,
    ),
    "checks of one name": (
        {"rollout.checks": [{"name": "p99", "latency": {"max": limit}} for limit in ("1s", "2s")]},
        CHECKS,
        CHECK_NAMES,
    ),
    "error rate without a limit": (
        checks({"errorRate": {}}),
        f"{CHECKS}[0].errorRate",
        "errorRate needs a limit: write max, maxIncrease or abort",
    ),
    "proportion without a limit": (
        checks({"proportion": {"hits": "x{{revision}}{{window}}"}}),
        f"{CHECKS}[0].proportion",
        "proportion needs a limit: write max or maxIncrease",
    ),
    "proportion of everything": (
        checks({"proportion": {"hits": "declined_total{r='{{revision}}'}", "max": "1%"}}),
        f"{CHECKS}[0].proportion.hits",
        "count for one revision and window: use {{revision}} and [{{window}}], and besides only {{model}} and {{namespace}}",
    ),
    "error rate without a sign": (checks({"errorRate": {"max": "0.01"}}), f"{CHECKS}[0].errorRate.max", PERCENT),
    "error rate above all": (checks({"errorRate": {"abort": "100.5%"}}), f"{CHECKS}[0].errorRate.abort", PERCENT),
    "latency without a limit": (
        checks({"latency": {"quantile": "0.9"}}),
        f"{CHECKS}[0].latency",
        "latency needs a limit: write max or maxIncrease",
    ),
    "latency without a unit": (checks({"latency": {"max": "250"}}), f"{CHECKS}[0].latency.max", POSITIVE),
    "latency of zero": (checks({"latency": {"max": "0ms"}}), f"{CHECKS}[0].latency.max", POSITIVE),
    "quantile in per cent": (
        checks({"latency": {"quantile": "99", "max": "1s"}}),
        f"{CHECKS}[0].latency.quantile",
        QUANTILE,
    ),
    "quantile of 0": (checks({"latency": {"quantile": "0.0", "max": "1s"}}), f"{CHECKS}[0].latency.quantile", QUANTILE),
    "quantile of 1": (checks({"latency": {"quantile": "1.0", "max": "1s"}}), f"{CHECKS}[0].latency.quantile", QUANTILE),
    "increase below zero": (checks({"latency": {"maxIncrease": "-5%"}}), f"{CHECKS}[0].latency.maxIncrease", INCREASE),
    "query without a limit": (query(), f"{CHECKS}[0].query", "query needs a limit: write max, min or maxIncrease"),
    "query that no value passes": (
        query(min="0.5", max="0.3"),
        f"{CHECKS}[0].query.min",
        "query.min must not be above query.max: no value could pass",
    ),
    "query with a limit in words": (query(max="a lot"), f"{CHECKS}[0].query.max", NUMBER),
    "query with an infinite limit": (query(max="1e999"), f"{CHECKS}[0].query.max", NUMBER),
    "query with a strange placeholder": (
        query(promql="up{pod={{pod}}}", max="1"),
        f"{CHECKS}[0].query.promql",
        PLACEHOLDER,
    ),
    "empty query": (
        query(promql="", max="1"),
        f"{CHECKS}[0].query.promql",
        f"{CHECKS}[0].query.promql in body should be at least 1 chars long",
    ),
    "no time to get ready": ({"rollout.progressDeadline": "0s"}, "spec.rollout.progressDeadline", POSITIVE),
    "memory of the old pods without a unit": ({"rollout.keepStableFor": "5"}, "spec.rollout.keepStableFor", DURATION),
    "watch without a unit": ({"rollout.watchAfterPromotion": "600"}, "spec.rollout.watchAfterPromotion", DURATION),
}


@pytest.mark.parametrize(("fields", "field", "sentence"), CASES.values(), ids=CASES.keys())
def test_bad_input_is_refused_with_a_sentence(
    rest: Rest,
    crd_installed: None,
    model_deployment: Callable[..., Body],
    fields: dict[str, Any],
    field: str,
    sentence: str,
) -> None:
    answer = rest.create("default", model_deployment(fields), fieldValidation="Strict", dryRun="All")

    assert answer.status == 422, answer
    refusals = answer.refusals - NOT_CHECKED
    assert {(refused, message.endswith(sentence)) for refused, message in refusals} == {(field, True)}, refusals


NAMES = {
    "too long": ("f" * 53, "metadata.name must be at most 52 characters: the names of its children are longer"),
    "with a dot": (
        "fraud.v2",
        "metadata.name becomes the name of a Service: write lower-case letters, digits and -, starting with a letter",
    ),
    "starting with a digit": (
        "2fraud",
        "metadata.name becomes the name of a Service: write lower-case letters, digits and -, starting with a letter",
    ),
}


@pytest.mark.parametrize(("name", "sentence"), NAMES.values(), ids=NAMES.keys())
def test_a_name_that_its_children_cannot_bear_is_refused(
    rest: Rest, crd_installed: None, model_deployment: Callable[..., Body], name: str, sentence: str
) -> None:
    answer = rest.create("default", model_deployment(name=name), fieldValidation="Strict", dryRun="All")

    assert answer.status == 422, answer
    ((_, message),) = answer.refusals
    assert message.endswith(f": {sentence}")


def test_several_faults_are_all_named_at_once(
    rest: Rest, crd_installed: None, model_deployment: Callable[..., Body]
) -> None:
    faults = {"model.uri": "fraud", "rollout.steps": [{"weight": 5, "hold": "1"}], "traffic.path": "fraud"}
    answer = rest.create("default", model_deployment(faults), fieldValidation="Strict", dryRun="All")

    assert {field for field, _ in answer.refusals} == {"spec.model.uri", f"{STEPS}[0].hold", "spec.traffic.path"}
