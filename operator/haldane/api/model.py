"""`spec.model`: what to serve, and what it must answer before it may."""

from __future__ import annotations

from pydantic import ConfigDict, Field

from haldane.api.base import ApiModel, Rule, validations
from haldane.api.forms import Endpoint, ModelUri, ObjectName, Region, Sha256, Version


class S3Location(ApiModel):
    """Where the S3 API is, when it is not AWS itself."""

    endpoint: Endpoint | None = Field(
        None, description="URL of the S3 API, for example https://minio.example.com:9000; AWS when left out."
    )
    region: Region | None = Field(None, description="Region that requests are signed for; us-east-1 when left out.")


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
        description="Where the model is: s3://bucket/key, https://host/path or file:///path; a .onnx file or a folder that holds model.onnx."
    )
    version: Version | None = Field(
        None,
        description="Your name for this version, shown to clients and in metrics; derived from the revision when left out.",
    )
    sha256: Sha256 | None = Field(
        None, description="SHA-256 of the model in lower-case hex; a model that differs is not loaded."
    )
    credentials_secret: ObjectName | None = Field(
        None,
        description="Secret in the same namespace with AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (and other AWS_* keys) for s3:// models.",
    )
    s3: S3Location | None = Field(None, description="S3 endpoint and region, for stores other than AWS.")
