"""What every API type shares: camelCase on the wire, no unknown fields, no mutation, CEL rules as annotations."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, GetJsonSchemaHandler
from pydantic.alias_generators import to_camel
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

GROUP = "haldane.dev"
VERSION = "v1alpha1"
KIND = "ModelDeployment"
PLURAL = "modeldeployments"
API_VERSION = f"{GROUP}/{VERSION}"
VALIDATIONS = "x-kubernetes-validations"
PRESERVE = "x-kubernetes-preserve-unknown-fields"

Passthrough = Annotated[dict[str, Any], Field(json_schema_extra={PRESERVE: True})]
"""An object that is passed on as it is."""


class ApiModel(BaseModel):
    """Immutable, camelCase, and strict about unknown fields.

    Types, bounds and text forms are checked here as well as by the API server; rules over several fields
    (`validations`) only by the API server, which stored nothing that breaks them.
    """

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True)

    def to_wire(self) -> dict[str, Any]:
        """The object as JSON-compatible camelCase, without fields that are unset (None)."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


@dataclass(frozen=True)
class Rule:
    """One CEL rule that the API server checks, with the sentence a user reads when it fails.

    Usable as `Annotated[...]` metadata of a field, and in `validations(...)` for a whole type.
    """

    expression: str
    message: str
    field_path: str | None = None

    def to_wire(self) -> dict[str, str]:
        """The rule as an entry of `x-kubernetes-validations`."""
        made = {"rule": self.expression, "message": self.message}
        if self.field_path:
            made["fieldPath"] = self.field_path
        return made

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        schema = handler(core)
        schema[VALIDATIONS] = [*schema.get(VALIDATIONS, []), self.to_wire()]
        return schema


def validations(*rules: Rule) -> dict[str, Any]:
    """`json_schema_extra` of a type that carries CEL rules over several of its fields."""
    return {VALIDATIONS: [rule.to_wire() for rule in rules]}


def text(pattern: str, sentence: str, max_length: int, also: str = "") -> Any:
    """`Annotated[str, *text(...)]`: a string of at most `max_length` characters that must match the whole `pattern`.

    One pattern, two checks: by CEL in the API server and by `re` here, both failing with the same sentence. The pattern
    must mean the same to RE2 and to Python and hold neither quotes nor backslashes; it starts with ^ and ends with $.
    `also` is a further CEL condition, looked at only when the pattern matches; its twin here is the caller's.
    """
    compiled = re.compile(pattern)

    def check(value: str) -> str:
        if not compiled.fullmatch(value):
            raise ValueError(f"{value!r}: {sentence}")
        return value

    expression = f"self.matches('{pattern}')" + (f" && {also}" if also else "")
    return (Field(max_length=max_length), AfterValidator(check), Rule(expression, sentence))


def list_map(key: str) -> dict[str, Any]:
    """`json_schema_extra` of a list whose items differ in `key`: server-side apply merges it item by item.

    Not for a list with a default: nobody owns the default's items, so that they would stay beside the user's own.
    """
    return {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": [key]}
