"""Pydantic models as structural schemas: the part of OpenAPI v3 that a CustomResourceDefinition understands.

What a structural schema cannot say is an error here, so that nothing is lost on the way without a word.
Source: https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/#specifying-a-structural-schema
"""

from __future__ import annotations

from typing import Any

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue, NoDefault
from pydantic_core import core_schema, to_jsonable_python

from haldane.api.base import PRESERVE, VALIDATIONS, ApiModel

Schema = dict[str, Any]
INT_OR_STRING = "x-kubernetes-int-or-string"

# In the order in which they are written: what a reader looks for comes first.
_KEPT = (
    "description",
    "type",
    "format",
    INT_OR_STRING,
    PRESERVE,
    "x-kubernetes-list-type",
    "x-kubernetes-list-map-keys",
    "default",
    "enum",
    "minimum",
    "maximum",
    "minLength",
    "maxLength",
    "minItems",
    "maxItems",
    "minProperties",
    "maxProperties",
    VALIDATIONS,
    "required",
)
_DROPPED = {"title", "$defs"}


class _WithFactories(GenerateJsonSchema):
    """JSON Schema in which a default that a factory makes is written down, too.

    An object's default holds only what differs from its own fields' defaults: the API server fills in the rest.
    """

    def get_default_value(self, schema: core_schema.WithDefaultSchema) -> Any:
        factory: Any = schema.get("default_factory")
        default = factory() if factory else super().get_default_value(schema)
        # Absent means the same as null, [] or an empty map, and says it shorter in every stored object.
        return NoDefault if default is None or default in ([], {}) else default

    def encode_default(self, dft: Any) -> Any:
        if isinstance(dft, list):
            return [self.encode_default(item) for item in dft]
        if isinstance(dft, ApiModel):
            return dft.model_dump(mode="json", by_alias=True, exclude_none=True, exclude_defaults=True)
        return to_jsonable_python(dft)


def structural(model: type[ApiModel]) -> Schema:
    """The structural schema of a model. Raises ValueError for what such a schema cannot say, with the path to it."""
    generated = model.model_json_schema(by_alias=True, schema_generator=_WithFactories)
    return _Converter(generated.get("$defs", {})).convert(generated, model.__name__)


class _Converter:
    def __init__(self, definitions: dict[str, JsonSchemaValue]) -> None:
        self._definitions = definitions

    def convert(self, node: JsonSchemaValue, path: str) -> Schema:
        node = self._flat(node, path)
        made: Schema = {key: node.pop(key) for key in _KEPT if key in node}
        if isinstance(default := made.get("default"), str | int) and default != "" and "description" in made:
            # kubectl explain shows no defaults of its own.
            made["description"] += f" Default: {str(default).lower() if isinstance(default, bool) else default}."
        if "const" in node:
            made["enum"] = [node.pop("const")]
        properties: dict[str, JsonSchemaValue] = node.pop("properties", {})
        if properties:
            made["properties"] = {name: self.convert(child, f"{path}.{name}") for name, child in properties.items()}
        if "items" in node:
            made["items"] = self.convert(node.pop("items"), f"{path}[]")
            # The list says what its items are, and the file is bounded.
            made["items"].pop("description", None)
        values = node.pop("additionalProperties", False)
        if isinstance(values, dict):
            made["additionalProperties"] = self.convert(values, f"{path}{{}}")
        elif values and not (properties or made.get(PRESERVE)):
            raise ValueError(f"{path} holds anything: give its values a type, or mark it {PRESERVE}")
        if left := node.keys() - _DROPPED:
            raise ValueError(f"{path} uses {', '.join(sorted(left))}, which a structural schema cannot say")
        return made

    def _flat(self, node: JsonSchemaValue, path: str) -> JsonSchemaValue:
        """The node without indirection: references and the union with null resolved, what stands beside them kept."""
        node = dict(node)
        if "$ref" in node:
            name = node.pop("$ref").rpartition("/")[2]
            return _merged(self._flat(self._definitions[name], path), node)
        if "anyOf" in node:
            options = [option for option in node.pop("anyOf") if option.get("type") != "null"]
            if {option.get("type") for option in options} == {"integer", "string"}:
                if any(option.keys() != {"type"} for option in options):
                    raise ValueError(f"{path} bounds one half of an integer or string: write a rule over both instead")
                return {INT_OR_STRING: True, **node}
            if len(options) != 1:
                raise ValueError(f"{path} may be one of several types, which a structural schema cannot say")
            return _merged(self._flat(options[0], path), node)
        return node


def _merged(inner: JsonSchemaValue, outer: JsonSchemaValue) -> JsonSchemaValue:
    """What is said of the type and what is said of the field: rules add up, for the rest the field has the last word."""
    rules = [*inner.get(VALIDATIONS, []), *outer.get(VALIDATIONS, [])]
    return {**inner, **outer, **({VALIDATIONS: rules} if rules else {})}
