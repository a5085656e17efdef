"""`spec.model`: what to serve, and what it must answer before it may."""

from __future__ import annotations

import json
from typing import Annotated

from pydantic import AfterValidator, ConfigDict, Field

from haldane.api.base import ApiModel, Passthrough, Rule, validations
from haldane.api.forms import Endpoint, ModelUri, ObjectName, Region, Sha256, Version

LARGEST_GOLDEN = 64 * 1024
"""Bytes of golden requests as JSON: they travel in one environment variable, of which Linux takes 128 KiB."""


class S3Location(ApiModel):
    """Where the S3 API is, when it is not AWS itself."""

    endpoint: Endpoint | None = Field(
        None, description="URL of the S3 API, for example https://minio.example.com:9000; AWS when left out."
    )
    region: Region | None = Field(None, description="Region that requests are signed for; us-east-1 when left out.")


Tensors = Annotated[list[Passthrough], Field(min_length=1, max_length=64)]


class GoldenRequest(ApiModel):
    """A request and its expected answer; the runtime, which knows the model, checks the tensors."""

    inputs: Tensors = Field(
        description="Tensors of the request as in the Open Inference Protocol: name, datatype, shape and data."
    )
    outputs: Tensors = Field(description="Expected tensors, in the same form; other outputs are not compared.")


class Tolerance(ApiModel):
    """How far an answer may be off: absolute + relative x |expected|."""

    relative: float | None = Field(None, ge=0, description="Share of the expected value; 0.001 when left out.")
    absolute: float | None = Field(None, ge=0, description="Difference; 0.00001 when left out.")


def _bounded(golden: Golden) -> Golden:
    size = len(golden.to_json().encode())
    if size > LARGEST_GOLDEN:
        raise ValueError(
            f"model.golden is {size} bytes of JSON, and at most {LARGEST_GOLDEN} fit: write fewer requests, "
            "or put them into golden.json beside the model"
        )
    return golden


class Golden(ApiModel):
    """Requests that the model must answer as expected before it is ready."""

    requests: list[GoldenRequest] = Field(min_length=1, max_length=64, description="Requests with their answers.")
    tolerance: Tolerance | None = Field(None, description="How far an answer may be off.")

    def to_json(self) -> str:
        """The form of the file golden.json."""
        return json.dumps(self.to_wire(), separators=(",", ":"))


class Model(ApiModel):
    """The model: where it is and, when you know it, what it must hash to."""

    model_config = ConfigDict(
        json_schema_extra=validations(
            Rule(
                "!has(self.credentialsSecret) || self.uri.startsWith('s3://')",
                "model.credentialsSecret is for s3:// models: leave it out, or write an s3:// uri",
                ".credentialsSecret",
            ),
            Rule(
                "!has(self.s3) || self.uri.startsWith('s3://')",
                "model.s3 is for s3:// models: leave it out, or write an s3:// uri",
                ".s3",
            ),
        )
    )
    uri: ModelUri = Field(
        description="Where the model is: s3://bucket/key, https://host/path, pvc://claim/path or file:///path; a .onnx file or a folder with model.onnx. "
        "A claim is mounted read-only; ReadWriteOnce keeps all pods on one node, ReadWriteOncePod lets no second one start."
    )
    version: Version | None = Field(
        None,
        description="Your name for this version; derived from the revision when left out.",
    )
    sha256: Sha256 | None = Field(
        None, description="SHA-256 of the model in lower-case hex; a model that differs is not loaded."
    )
    credentials_secret: ObjectName | None = Field(
        None,
        description="Secret with AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and other AWS_* keys, for s3:// models.",
    )
    s3: S3Location | None = Field(None, description="S3 endpoint and region, for stores other than AWS.")
    golden: Annotated[Golden, AfterValidator(_bounded)] | None = Field(
        None,
        description="Requests to answer as expected before it serves; golden.json beside the model when left out.",
    )
