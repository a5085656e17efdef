"""Which words and categories a model was trained on: its encoders list them, and often accept no others."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

# Larger models learn their words elsewhere, and take long to read.
_LARGEST_BYTES = 64 << 20

# Attributes of OneHotEncoder, OrdinalEncoder, LabelEncoder, CategoryMapper and DictVectorizer.
_KNOWN = frozenset(
    {"cats_strings", "cats_int64s", "keys_strings", "keys_int64s", "string_vocabulary", "int64_vocabulary"}
)

# What lies between an input and its encoder and leaves the elements as they are.
_PASSING = frozenset({"Cast", "Concat", "Flatten", "Gather", "Identity", "Reshape", "Squeeze", "Unsqueeze"})


def read_vocabulary(model: Path) -> Mapping[str, list[Any]]:
    """Known strings or whole numbers by input; an input without an encoder is left out.

    Never raises: what cannot be read teaches nothing.
    """
    # A fifth of a second to import, which only models need that refuse all else.
    import onnx

    if model.stat().st_size > _LARGEST_BYTES:
        return {}
    try:
        graph = onnx.load(model, load_external_data=False).graph
    except Exception:
        return {}
    origins: dict[str, set[str]] = {tensor.name: {tensor.name} for tensor in graph.input}
    known: dict[str, list[Any]] = {}
    for node in graph.node:
        carried = node.input if node.op_type == "Concat" else node.input[:1]
        sources = set().union(*(origins.get(name, set()) for name in carried))
        for attribute in node.attribute:
            if attribute.name in _KNOWN:
                values = [word.decode(errors="replace") for word in attribute.strings] or list(attribute.ints)
                for name in sources:
                    known.setdefault(name, []).extend(values)
        if node.op_type in _PASSING and node.output:
            origins[node.output[0]] = sources
    return {name: values for name, values in known.items() if values}
