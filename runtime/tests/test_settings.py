import re
from pathlib import Path

import pytest

import haldane_runtime
from haldane_runtime.core.errors import LoadError, Reason
from haldane_runtime.lifecycle import limits_of
from haldane_runtime.scheduling.policy import AUTO_QUEUE_RUNS
from haldane_runtime.server import KNOWN
from haldane_runtime.settings import FREE_PORT, from_environment, unknown_names

URI = {"HALDANE_MODEL_URI": "file:///m.onnx"}


def test_defaults_are_those_of_the_contract() -> None:
    settings = from_environment(URI)
    assert (settings.queue, settings.request_timeout, settings.request_bytes) == (1024, 10.0, 67108864)
    assert (settings.port, settings.cache_dir, settings.drain_seconds) == (8080, Path("/var/cache/haldane"), 1.0)
    assert (settings.device, settings.intra_op_threads, settings.model_sha256) == ("cpu", None, None)
    assert (settings.model_repository, settings.model_control, settings.grpc_port) == (None, "none", 8081)
    assert (settings.max_batch_size, settings.max_batch_delay) == (64, 0.0)
    assert (settings.queue_bytes, settings.queue_delay) == (268435456, 0.0)
    assert (settings.providers, settings.precision, settings.precision_tolerance) == ((), "fp32", 0.01)
    assert (settings.golden, settings.request_log) == (None, 0.0)
    assert (settings.response_cache, settings.response_cache_ttl) == (None, 300.0)


def test_an_empty_variable_counts_as_unset() -> None:
    settings = from_environment({**URI, "HALDANE_QUEUE": "", "HALDANE_MODEL_SHA256": " ", "HALDANE_S3_ENDPOINT": ""})
    assert (settings.queue, settings.model_sha256, settings.s3_endpoint) == (1024, None, None)


def test_values_are_read() -> None:
    settings = from_environment(
        {
            **URI,
            "HALDANE_MODEL_SHA256": "A" * 64,
            "HALDANE_REQUEST_TIMEOUT": "2.5",
            "HALDANE_INTRA_OP_THREADS": "3",
            "HALDANE_DEVICE": "gpu",
        }
    )
    assert settings.model_sha256 == "a" * 64
    assert (settings.request_timeout, settings.intra_op_threads, settings.device) == (2.5, 3, "gpu")


def test_a_repository_stands_instead_of_a_uri() -> None:
    settings = from_environment({"HALDANE_MODEL_REPOSITORY": "/models", "HALDANE_MODEL_CONTROL": "explicit"})
    assert (settings.model_uri, settings.model_repository, settings.model_control) == ("", Path("/models"), "explicit")


@pytest.mark.parametrize(
    "name", ["HALDANE_MODEL_URI", "HALDANE_MODEL_SHA256", "HALDANE_MODEL_VERSION", "HALDANE_GOLDEN"]
)
def test_what_describes_one_model_is_refused_beside_a_repository(name: str) -> None:
    with pytest.raises(LoadError, match=f"{name} must be unset when HALDANE_MODEL_REPOSITORY is set"):
        from_environment({"HALDANE_MODEL_REPOSITORY": "/models", name: "a" * 64})


@pytest.mark.parametrize(
    ("environment", "ports"),
    [
        ({}, (8080, 8081)),
        ({"HALDANE_GRPC_PORT": "0"}, (8080, 0)),
        ({"HALDANE_PORT": "0"}, (0, FREE_PORT)),
        ({"HALDANE_PORT": "0", "HALDANE_GRPC_PORT": "9000"}, (0, 9000)),
        ({"HALDANE_PORT": "0", "HALDANE_GRPC_PORT": "0"}, (0, 0)),
    ],
)
def test_an_open_http_port_leaves_that_of_grpc_open(environment: dict[str, str], ports: tuple[int, int]) -> None:
    settings = from_environment({**URI, **environment})
    assert (settings.port, settings.grpc_port) == ports


@pytest.mark.parametrize(
    ("text", "delay", "runs"), [("", 0.0, 0), ("0", 0.0, 0), ("0.25", 0.25, 0), ("auto", 0.0, AUTO_QUEUE_RUNS)]
)
def test_the_queue_is_bounded_by_seconds_or_by_runs(text: str, delay: float, runs: int) -> None:
    limits = limits_of(from_environment({**URI, "HALDANE_QUEUE_DELAY": text}))
    assert (limits.queue_delay, limits.queue_runs) == (delay, runs)


def test_a_cuda_graph_is_off_unless_asked_for() -> None:
    assert not from_environment(URI).cuda_graph
    assert from_environment({**URI, "HALDANE_CUDA_GRAPH": "on"}).cuda_graph


def test_providers_are_a_list_in_the_order_given() -> None:
    assert from_environment({**URI, "HALDANE_PROVIDERS": "tensorrt, CUDA,cpu"}).providers == ("TensorRT", "CUDA", "CPU")


def test_without_a_model_all_ways_to_name_one_are_told() -> None:
    with pytest.raises(LoadError, match=r"serve MODEL.*HALDANE_MODEL_URI or HALDANE_MODEL_REPOSITORY") as caught:
        from_environment({"HALDANE_MODEL_URI": " "})
    assert caught.value.reason is Reason.INVALID_CONFIGURATION


def test_a_wrong_cache_url_is_not_repeated() -> None:
    with pytest.raises(LoadError, match="redis://cache:6379/0") as caught:
        from_environment({**URI, "HALDANE_RESPONSE_CACHE": "http://:secret@cache"})
    assert "secret" not in caught.value.message


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("HALDANE_PORT", "http", "a whole number from 0 to 65535"),
        ("HALDANE_PORT", "65536", "a whole number from 0 to 65535"),
        ("HALDANE_QUEUE", "0", "a whole number from 1"),
        ("HALDANE_QUEUE", "1e3", "a whole number"),
        ("HALDANE_QUEUE_DELAY", "Auto", "auto or a number from 0 to 3600, but holds 'Auto'"),
        ("HALDANE_QUEUE_DELAY", "3601", "auto or a number from 0 to 3600, but holds '3601'"),
        ("HALDANE_REQUEST_TIMEOUT", "10s", "a number from 0.001 to 3600"),
        ("HALDANE_REQUEST_TIMEOUT", "nan", "a number from"),
        ("HALDANE_REQUEST_TIMEOUT", "inf", "a number from"),
        ("HALDANE_REQUEST_BYTES", "64Mi", "a whole number"),
        ("HALDANE_MODEL_SHA256", "abc", "64 hexadecimal digits"),
        ("HALDANE_DEVICE", "cuda", "cpu or gpu"),
        ("HALDANE_S3_ENDPOINT", "minio:9000", "a URL like"),
        ("HALDANE_MODEL_VERSION", "v 1", "a label-safe version"),
        ("HALDANE_MODEL_NAME", "a/b", "a name"),
        ("HALDANE_DRAIN_SECONDS", "-1", "a number from 0"),
        ("HALDANE_EXTENSION", "routes.py", "a function like routes:extend"),
        ("HALDANE_MODEL_CONTROL", "poll", "none or explicit"),
        ("HALDANE_GRPC_PORT", "8080", "another port than HALDANE_PORT"),
        ("HALDANE_PROVIDERS", "CPU,CPU", "TensorRT, CUDA or CPU, each at most once"),
        ("HALDANE_PROVIDERS", "ROCm", "TensorRT, CUDA or CPU"),
        ("HALDANE_PRECISION", "fp8", "fp32, fp16 or int8"),
        ("HALDANE_PRECISION_TOLERANCE", "2", "a number from 0 to 1"),
        ("HALDANE_MAX_BATCH_SIZE", "0", "a whole number from 1"),
        ("HALDANE_MAX_BATCH_DELAY", "10", "at most HALDANE_REQUEST_TIMEOUT, which is 2.5"),
        ("HALDANE_REQUEST_LOG", "50%", "a number from 0 to 1"),
        ("HALDANE_RESPONSE_CACHE_TTL", "0", "a number from 0.001"),
    ],
)
def test_a_wrong_value_is_named_with_what_was_expected(name: str, value: str, expected: str) -> None:
    with pytest.raises(LoadError) as caught:
        from_environment({**URI, "HALDANE_REQUEST_TIMEOUT": "2.5", name: value})
    assert caught.value.reason is Reason.INVALID_CONFIGURATION
    assert name in caught.value.message
    assert expected in caught.value.message


def test_the_help_names_every_variable_that_is_read() -> None:
    sources = Path(haldane_runtime.__file__).parent.rglob("*.py")
    assert set(re.findall(r"HALDANE_[A-Z0-9_]*[A-Z0-9]", "".join(map(Path.read_text, sources)))) == KNOWN


@pytest.mark.parametrize(
    ("name", "value", "warning"),
    [
        ("HALDANE_QEUE", "10", "HALDANE_QEUE is no setting of the runtime and is ignored; is HALDANE_QUEUE meant?"),
        ("HALDANE_MODEL_URL", "s3://b/m", "is HALDANE_MODEL_URI meant?"),
        ("HALDANE_FAVOURITE_COLOUR", "red", "HALDANE_FAVOURITE_COLOUR is no setting of the runtime and is ignored."),
        ("HALDANE_SERVICE_POT", "80", "is no setting"),
    ],
)
def test_a_name_that_is_no_setting_is_told(name: str, value: str, warning: str) -> None:
    (told,) = unknown_names({**URI, name: value, "PATH": "/bin"}, KNOWN)
    assert warning in told


# As Kubernetes tells a pod of the Services haldane and haldane-grpc of its namespace.
SERVICES = {
    "HALDANE_SERVICE_HOST": "10.0.0.1",
    "HALDANE_SERVICE_PORT": "80",
    "HALDANE_SERVICE_PORT_HTTP": "80",
    "HALDANE_PORT": "tcp://10.0.0.1:80",
    "HALDANE_PORT_80_TCP": "tcp://10.0.0.1:80",
    "HALDANE_PORT_80_TCP_PROTO": "tcp",
    "HALDANE_PORT_80_TCP_PORT": "80",
    "HALDANE_PORT_80_TCP_ADDR": "10.0.0.1",
    "HALDANE_GRPC_SERVICE_HOST": "10.0.0.2",
    "HALDANE_GRPC_SERVICE_PORT": "8081",
    "HALDANE_GRPC_PORT": "tcp://10.0.0.2:8081",
    "HALDANE_GRPC_PORT_8081_TCP": "tcp://10.0.0.2:8081",
    "HALDANE_OTHER_PORT": "udp://10.0.0.3:53",
}


def test_what_kubernetes_tells_of_services_is_no_setting_and_no_mistake() -> None:
    assert unknown_names({**URI, **SERVICES}, KNOWN) == []
    settings = from_environment({**URI, **SERVICES})
    assert (settings.port, settings.grpc_port) == (8080, 8081)
