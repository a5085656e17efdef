"""What a user's PromQL shows without asking: whether it may stand inside another query, and whether its value is a scalar.

No grammar: what is taken here for more than it is, Prometheus refuses, and it is asked alone then.
"""

from __future__ import annotations

import re

_TOKEN = re.compile(
    r"""
    (?P<comment> \#[^\r\n]* )
  | (?P<string> "(?:\\.|[^"\\\n])*" | '(?:\\.|[^'\\\n])*' | `[^`]*` )
  | (?P<number> [0-9.][\w.]* )
  | (?P<word> [^\W\d][\w:]* )
  | (?P<other> \S )
    """,
    re.VERBOSE | re.DOTALL,
)
_CLOSING = {"(": ")", "[": "]", "{": "}"}
_OF_SCALARS = frozenset({*"()+-*/%^=!<>", "bool", "atan2", "inf", "nan"})
"""Of what an expression of scalars consists besides numbers and calls that give one."""
_NO_ARGUMENTS = frozenset({"time", "pi"})


def tokens(promql: str) -> list[str]:
    """Its words, strings, numbers and signs, without comments."""
    return [found[0] for found in _TOKEN.finditer(promql) if found.lastgroup != "comment"]


def is_whole(promql: str) -> bool:
    """Whether each bracket and quotation mark is closed in it, so that it means in parentheses what it means alone."""
    expected = []
    for token in tokens(promql):
        if token in _CLOSING:
            expected.append(_CLOSING[token])
        elif (token in _CLOSING.values() and (not expected or expected.pop() != token)) or token in ('"', "'", "`"):
            return False
    return not expected


def is_scalar(promql: str) -> bool:
    """Whether it is made of numbers, `scalar()`, `time()` and `pi()` alone; of one that is whole."""
    rest = tokens(promql)
    depth, skipped = 0, 0
    for here, following in zip(rest, [*rest[1:], ""], strict=True):
        depth += (here == "(") - (here == ")")
        if skipped:
            skipped = 0 if here == ")" and depth < skipped else skipped
        elif here == "scalar" and following == "(":
            skipped = depth + 1
        elif here in _NO_ARGUMENTS and following == "(":
            continue
        elif not (here.lower() in _OF_SCALARS or here[0] in "0123456789."):
            return False
    return True


def names_its_end(promql: str) -> bool:
    """Whether it may fix itself to the time that it is asked about, as `@ end()` does, whatever stands around it."""
    return "@" in tokens(promql)
