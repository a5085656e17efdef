import pytest

from haldane_runtime.core.errors import LoadError, Reason
from haldane_runtime.store.location import Location, parse


@pytest.mark.parametrize(
    ("uri", "location"),
    [
        ("s3://models/a/model.onnx", Location("s3", "models", "a/model.onnx", "", False)),
        ("s3://models/a/b/", Location("s3", "models", "a/b", "", True)),
        ("s3://models/a/b", Location("s3", "models", "a/b", "", True)),
        ("https://h:8443/a.onnx?sig=x", Location("https", "h:8443", "/a.onnx", "sig=x", False)),
        ("file:///models/", Location("file", "", "/models", "", True)),
        ("file:///my%20models/a.ONNX", Location("file", "", "/my models/a.ONNX", "", False)),
        ("file://localhost/m.onnx", Location("file", "", "/m.onnx", "", False)),
    ],
)
def test_a_uri_is_taken_apart(uri: str, location: Location) -> None:
    assert parse(uri) == location


@pytest.mark.parametrize(
    ("uri", "advice"),
    [
        ("s3://models", "needs a bucket and a key"),
        ("s3:///a/model.onnx", "needs a bucket and a key"),
        ("s3://models/a?b", "takes no query"),
        ("https:///a.onnx", "needs a host"),
        ("https://host/folder/", "must name one .onnx file"),
        ("https://me:secret@host/a.onnx", "must not carry a password"),
        ("http://host/a.onnx", "starts with s3://, https:// or file://"),
        ("pvc://claim/a.onnx", "must be mounted: name the path where it is as file:///path"),
        ("file://models/a.onnx", "needs an absolute path"),
        ("file:///", "needs an absolute path"),
        ("/models/a.onnx", "starts with s3://"),
        ("https://[::1/a.onnx", "is not a URI"),
    ],
)
def test_an_unusable_uri_is_told_with_what_to_write(uri: str, advice: str) -> None:
    with pytest.raises(LoadError) as caught:
        parse(uri)
    assert caught.value.reason is Reason.INVALID_CONFIGURATION
    assert advice in caught.value.message
    assert "secret" not in caught.value.message


def test_the_query_of_a_signed_url_is_not_shown() -> None:
    assert str(parse("https://host/a.onnx?X-Amz-Signature=secret")) == "https://host/a.onnx"
    assert str(parse("s3://models/a")) == "s3://models/a/"
