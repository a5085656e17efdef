"""`haldane.dev/v1alpha1`: the one resource, ModelDeployment."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import ConfigDict, Field

from haldane.api.base import API_VERSION, GROUP, KIND, PLURAL, VERSION, ApiModel, Passthrough, Rule, validations
from haldane.api.spec import ModelDeploymentSpec
from haldane.api.status import ModelDeploymentStatus

__all__ = [
    "API_VERSION",
    "GROUP",
    "KIND",
    "NAME_LIMIT",
    "PLURAL",
    "RETRY_ANNOTATION",
    "VERSION",
    "Metadata",
    "ModelDeployment",
]

RETRY_ANNOTATION = f"{GROUP}/retry"
# "-candidate" must fit behind the name in a Service name, and "-<revision>" in a label value.
NAME_LIMIT = 52


class Metadata(ApiModel):
    """The part of ObjectMeta that the operator reads; it never writes any of it."""

    model_config = ConfigDict(extra="ignore")
    name: str
    namespace: str
    uid: str
    generation: int
    resource_version: str = ""
    annotations: dict[str, str] = Field(default_factory=dict)
    managed_fields: list[Passthrough] = Field(default_factory=list)
    """Who wrote which field; what the operator has no use for may have been left out."""
    deletion_timestamp: str | None = None


class ModelDeployment(ApiModel):
    """A model service: serves one model, and replaces it by canary when the spec names another."""

    model_config = ConfigDict(
        json_schema_extra=validations(
            Rule(
                f"size(self.metadata.name) <= {NAME_LIMIT}",
                f"metadata.name must be at most {NAME_LIMIT} characters: the names of its children are longer",
            ),
            Rule(
                "self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",
                "metadata.name becomes the name of a Service: write lower-case letters, digits and -, starting with a letter",
            ),
        )
    )
    api_version: Literal["haldane.dev/v1alpha1"]
    kind: Literal["ModelDeployment"]
    metadata: Metadata
    spec: ModelDeploymentSpec
    status: ModelDeploymentStatus = Field(default_factory=ModelDeploymentStatus)

    @classmethod
    def from_wire(cls, body: dict[str, Any]) -> ModelDeployment:
        """Read an object as the API server gave it. Raises pydantic.ValidationError with the field that is wrong."""
        return cls.model_validate(body)
