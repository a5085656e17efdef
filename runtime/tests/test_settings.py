from pathlib import Path

import pytest

from haldane_runtime.core.errors import LoadError, Reason
from haldane_runtime.settings import from_environment

URI = {"HALDANE_MODEL_URI": "file:///m.onnx"}


def test_defaults_are_those_of_the_contract() -> None:
    settings = from_environment(URI)
    assert (settings.queue, settings.request_timeout, settings.request_bytes) == (1024, 10.0, 67108864)
    assert (settings.port, settings.cache_dir, settings.drain_seconds) == (8080, Path("/var/cache/haldane"), 0.0)
    assert (settings.device, settings.intra_op_threads, settings.model_sha256) == ("cpu", None, None)


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


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("HALDANE_MODEL_URI", "", "an s3://, https:// or file:// URI"),
        ("HALDANE_PORT", "http", "a whole number from 0 to 65535"),
        ("HALDANE_PORT", "65536", "a whole number from 0 to 65535"),
        ("HALDANE_QUEUE", "0", "a whole number from 1"),
        ("HALDANE_QUEUE", "1e3", "a whole number"),
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
    ],
)
def test_a_wrong_value_is_named_with_what_was_expected(name: str, value: str, expected: str) -> None:
    with pytest.raises(LoadError) as caught:
        from_environment({**URI, name: value})
    assert caught.value.reason is Reason.INVALID_CONFIGURATION
    assert name in caught.value.message
    assert expected in caught.value.message
