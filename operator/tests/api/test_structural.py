"""Pydantic types become structural schemas, and what cannot be said in one is an error."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

import pytest
from pydantic import ConfigDict, Field, TypeAdapter

from haldane.api.base import PRESERVE, ApiModel, Rule, list_map, text, validations
from haldane.api.structural import structural


class Inner(ApiModel):
    """Said of the type."""

    model_config = ConfigDict(json_schema_extra=validations(Rule("self.a < 5", "of the type")))
    a: int = Field(3, ge=1, description="A number.")


def field_schema(annotation: Any, field: Any = ...) -> dict[str, Any]:
    """The schema of a field `aField` with an annotation and a default or Field()."""
    made = type("Made", (ApiModel,), {"__annotations__": {"a_field": annotation}, "a_field": field})
    schema: dict[str, Any] = structural(made)["properties"]["aField"]
    return schema


CASES: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    # annotation, default or Field, schema
    "text": (str, ..., {"type": "string"}),
    "optional text": (str | None, None, {"type": "string"}),
    "bounded optional text": (str | None, Field(None, max_length=3), {"type": "string", "maxLength": 3}),
    "number with a default": (
        int,
        Field(3, ge=1, le=5, description="A number."),
        {"description": "A number. Default: 3.", "type": "integer", "default": 3, "minimum": 1, "maximum": 5},
    ),
    "choice": (
        Literal["a", "b"],
        Field("a", description="One."),
        {"description": "One. Default: a.", "type": "string", "default": "a", "enum": ["a", "b"]},
    ),
    "switch": (
        bool,
        Field(True, description="A switch."),
        {"description": "A switch. Default: true.", "type": "boolean", "default": True},
    ),
    "constant": (Literal["a"], ..., {"type": "string", "enum": ["a"]}),
    "time": (datetime | None, None, {"type": "string", "format": "date-time"}),
    "integer or text": (int | str, ..., {"x-kubernetes-int-or-string": True}),
    "map": (
        dict[str, str],
        Field(default_factory=dict, max_length=4),
        {"type": "object", "maxProperties": 4, "additionalProperties": {"type": "string"}},
    ),
    "map to integer or text": (
        dict[str, int | str] | None,
        None,
        {"type": "object", "additionalProperties": {"x-kubernetes-int-or-string": True}},
    ),
    "anything": (
        Annotated[dict[str, Any], Field(json_schema_extra={PRESERVE: True})] | None,
        None,
        {"type": "object", PRESERVE: True},
    ),
    "list by key": (
        list[str],
        Field(default_factory=list, json_schema_extra=list_map("name")),
        {
            "type": "array",
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["name"],
            "items": {"type": "string"},
        },
    ),
    "object with a default": (
        Inner,
        Field(default_factory=Inner),
        {
            "description": "Said of the type.",
            "type": "object",
            "default": {},
            "x-kubernetes-validations": [{"rule": "self.a < 5", "message": "of the type"}],
            "properties": {
                "a": {"description": "A number. Default: 3.", "type": "integer", "default": 3, "minimum": 1}
            },
        },
    ),
    "text form": (
        Annotated[str, *text("^a+$", "write a", 3)] | None,
        None,
        {
            "type": "string",
            "maxLength": 3,
            "x-kubernetes-validations": [{"rule": "self.matches('^a+$')", "message": "write a"}],
        },
    ),
}


@pytest.mark.parametrize(("annotation", "field", "schema"), CASES.values(), ids=CASES.keys())
def test_types(annotation: Any, field: Any, schema: dict[str, Any]) -> None:
    assert field_schema(annotation, field) == schema


def test_the_field_has_the_last_word_and_rules_add_up() -> None:
    made = field_schema(
        Annotated[Inner, Rule("self.a > 1", "of the field")] | None, Field(None, description="Said of the field.")
    )
    assert made["description"] == "Said of the field."
    assert [rule["message"] for rule in made["x-kubernetes-validations"]] == ["of the type", "of the field"]


def test_a_default_holds_only_what_differs_from_the_defaults_of_its_own_fields() -> None:
    assert field_schema(Inner, Field(default_factory=lambda: Inner(a=4)))["default"] == {"a": 4}
    assert field_schema(list[Inner], Field(default_factory=lambda: [Inner(), Inner(a=4)]))["default"] == [{}, {"a": 4}]


@pytest.mark.parametrize(
    ("annotation", "sentence"),
    [
        (dict[str, Any], r"Made.aField holds anything: give its values a type, or mark it"),
        (list[str] | str, r"Made.aField may be one of several types"),
        (list[dict[str, list[str] | str]], r"Made.aField\[\]{} may be one of several types"),
        (int | Annotated[str, Field(max_length=3)], r"Made.aField bounds one half of an integer or string"),
        (tuple[int, str], r"Made.aField uses prefixItems, which a structural schema cannot say"),
    ],
)
def test_what_a_structural_schema_cannot_say_is_an_error(annotation: Any, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        field_schema(annotation)


def test_a_text_form_is_checked_here_as_well() -> None:
    form = TypeAdapter(Annotated[str, *text("^a+$", "write a", 3)])
    assert form.validate_python("aaa") == "aaa"
    for wrong in ("b", "aaaa", "a\n", ""):
        with pytest.raises(ValueError, match=r"write a|at most 3 characters"):
            form.validate_python(wrong)
