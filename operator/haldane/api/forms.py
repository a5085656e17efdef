"""The text forms of spec that name or locate something: objects, images, URLs, paths, versions and digests."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator

from haldane.api.base import Rule, text

_RESERVED = "HALDANE_"
RESERVED_SENTENCE = f"names that start with {_RESERVED} are set by Haldane: choose another name"


def _unreserved(name: str) -> str:
    if name.startswith(_RESERVED):
        raise ValueError(f"{name!r}: {RESERVED_SENTENCE}")
    return name


_DNS = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
DnsName = Annotated[
    str,
    *text(
        f"^{_DNS}([.]{_DNS})*$",
        "write a DNS name: lower-case letters, digits, - and ., for example models.example.com",
        253,
    ),
]
ObjectName = Annotated[
    str,
    *text(
        f"^{_DNS}([.]{_DNS})*$",
        "write the name of an object: lower-case letters, digits, - and ., for example s3-models",
        253,
    ),
]
HeaderName = Annotated[
    str, *text("^[A-Za-z0-9]+(-[A-Za-z0-9]+)*$", "write the name of an HTTP header, for example X-Preview", 64)
]
Endpoint = Annotated[
    str,
    *text(
        "^https?://[^/?#@ ]+$",
        "write the URL of the S3 API without a path, for example https://minio.example.com:9000",
        1024,
    ),
]
Region = Annotated[
    str, *text("^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", "write the name of a region, for example eu-central-1", 64)
]
ModelUri = Annotated[
    str,
    *text(
        f"^(s3://[^/ ]+/.+|https://[^/ ]+/.+|pvc://{_DNS}([.]{_DNS})*/[^?#]+|file:///.+)$",
        "write where the model is: s3://bucket/key, https://host/path, pvc://claim/path or file:///path",
        2048,
    ),
]
# A password in it would stand in the object and in every pod.
RedisUrl = Annotated[
    str,
    *text(
        "^rediss?://[^/?#@ ]+(/[0-9]{0,4})?$",
        "write the URL of a Redis without a password, for example redis://cache:6379, or name a Secret with secretRef",
        1024,
    ),
]
SecretKey = Annotated[str, *text("^[-._a-zA-Z0-9]+$", "write a key of the Secret, for example url", 253)]
Version = Annotated[
    str,
    *text(
        "^[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$",
        "write a version of letters, digits, -, _ and . that starts and ends with a letter or digit, for example 2.1.0",
        63,
    ),
]
Sha256 = Annotated[
    str, *text("^[0-9a-f]{64}$", "write the 64 lower-case hex digits that sha256sum prints, without sha256:", 256)
]
ImageReference = Annotated[
    str,
    *text(
        "^[A-Za-z0-9][-A-Za-z0-9._:/@]*$",
        "write an image, for example registry.example.com/haldane/runtime:1.0",
        1024,
    ),
]
VariableName = Annotated[
    str,
    *text(
        "^[-._a-zA-Z][-._a-zA-Z0-9]*$", "write the name of an environment variable, for example OMP_NUM_THREADS", 253
    ),
    Rule(f"!self.startsWith('{_RESERVED}')", RESERVED_SENTENCE),
    AfterValidator(_unreserved),
]
MetricTarget = Annotated[
    str,
    *text(
        "^([1-9][0-9]{0,3}%|[1-9][0-9]{0,14}(m|k|M|G|Ki|Mi|Gi)?)$",
        "write a share of the request, for example 70%, or an amount a pod, for example 500m or 1Gi",
        32,
    ),
]
# What an Ingress takes as a path of type Prefix: no empty, . or .. segments and nothing percent-encoded.
UrlPath = Annotated[
    str,
    *text(
        "^(/|(/[.]*[A-Za-z0-9_~-][A-Za-z0-9._~-]*)+/?)$",
        "write a path of letters, digits, ., _, ~ and - that starts with /, for example /fraud",
        1024,
    ),
]
