"""Writes the two tables of the chart's README: its values, from the schema and the defaults, and the operator's rights, from the template.

`python -m charts.readme` writes them; `--check` only says whether they are up to date.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

CHART = Path(__file__).parent / "haldane"


def leaves(schema: dict[str, Any], defaults: dict[str, Any], path: str = "") -> Iterator[tuple[str, Any, str]]:
    """Each value with its default and description, in the order of the schema."""
    for name, inner in schema["properties"].items():
        here = f"{path}{name}"
        if here == "global":
            continue
        if "properties" in inner and here != "resources":
            yield from leaves(inner, defaults[name], f"{here}.")
        else:
            yield here, defaults[name], inner["description"]


def table(head: tuple[str, ...], rows: Iterator[tuple[str, ...]]) -> str:
    """A table in Markdown."""
    lines = [head, ("---",) * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def values_table() -> str:
    """Every value of the chart."""
    schema = json.loads((CHART / "values.schema.json").read_text())
    defaults = yaml.safe_load((CHART / "values.yaml").read_text())
    rows = ((f"`{path}`", f"`{json.dumps(default)}`", text) for path, default, text in leaves(schema, defaults))
    return table(("value", "default", "what it does"), rows)


def rights_table() -> str:
    """Every right of the operator."""
    body = re.search(
        r'define "haldane.rules" -}}\n(.*?)\n{{- end -}}', (CHART / "templates/_rules.tpl").read_text(), re.DOTALL
    )
    if body is None:
        raise ValueError("templates/_rules.tpl defines no haldane.rules")
    rows = (
        (
            ", ".join(group or "core" for group in rule["apiGroups"]),
            ", ".join(f"`{resource}`" for resource in rule["resources"]),
            ", ".join(rule["verbs"]),
        )
        for rule in yaml.safe_load(re.sub(r"(?m)^{{.*$", "", body[1]))
    )
    return table(("API group", "resources", "verbs"), rows)


def with_tables(text: str) -> str:
    """The README with both tables as they should be. Raises ValueError when it has no place for one."""
    for name, made in (("values", values_table()), ("rights", rights_table())):
        text, found = re.subn(
            rf"(<!-- {name}: begin.*?-->\n).*?(<!-- {name}: end -->)",
            lambda match, made=made: f"{match[1]}\n{made}\n{match[2]}",  # type: ignore[misc]
            text,
            flags=re.DOTALL,
        )
        if not found:
            raise ValueError(f"README.md has no place for the table of {name}")
    return text


def main(arguments: list[str]) -> int:
    """Write the tables, or with `--check` compare them."""
    readme = CHART / "README.md"
    wanted = with_tables(readme.read_text())
    if wanted == readme.read_text():
        return 0
    if "--check" in arguments:
        print("charts/haldane/README.md is out of date: run `python -m charts.readme`")
        return 1
    readme.write_text(wanted)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
