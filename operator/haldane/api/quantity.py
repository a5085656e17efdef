"""The small text forms of the API: durations, percentages, sizes, quantiles and numbers.

Each is a string on the wire, checked twice by the same pattern: by the API server (CEL, with a sentence) and here.
"""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from haldane.api.base import Rule

_DURATION = r"^([0-9]+([.][0-9]+)?(ms|s|m|h))+$"
_PERCENT = r"^([0-9]|[1-9][0-9]|100)([.][0-9]+)?%$"
_INCREASE = r"^[0-9]+([.][0-9]+)?%$"
_BYTES = r"^[0-9]+(Ki|Mi|Gi|k|M|G)?$"
_QUANTILE = r"^0[.][0-9]*[1-9][0-9]*$"
_NUMBER = r"^-?[0-9]+([.][0-9]+)?([eE][-+]?[0-9]+)?$"

_UNIT_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_UNIT_BYTES = {"": 1, "k": 1000, "M": 1000**2, "G": 1000**3, "Ki": 1024, "Mi": 1024**2, "Gi": 1024**3}

DURATION_SENTENCE = "write a duration with a unit (ms, s, m or h), for example 30s or 1h30m"
PERCENT_SENTENCE = "write a percentage from 0% to 100% with its sign, for example 0.5%"
INCREASE_SENTENCE = "write a percentage with its sign, for example 20%"
BYTES_SENTENCE = "write whole bytes or a number with Ki, Mi or Gi, for example 64Mi"
QUANTILE_SENTENCE = 'write a quantile between 0 and 1 as a string, for example "0.99"'
NUMBER_SENTENCE = 'write a number as a string, for example "0.3"'


def _matching(pattern: str, sentence: str, max_length: int) -> Any:
    """Annotated metadata of a text form: the CEL rule for the API server and the same check for ourselves."""

    def check(text: str) -> str:
        if not re.match(pattern, text):
            raise ValueError(f"{text!r}: {sentence}")
        return text

    return (Field(max_length=max_length), AfterValidator(check), Rule(f"self.matches('{pattern}')", sentence))


Duration = Annotated[str, *_matching(_DURATION, DURATION_SENTENCE, 32)]
Percent = Annotated[str, *_matching(_PERCENT, PERCENT_SENTENCE, 16)]
Increase = Annotated[str, *_matching(_INCREASE, INCREASE_SENTENCE, 16)]
Bytes = Annotated[str, *_matching(_BYTES, BYTES_SENTENCE, 24)]
Quantile = Annotated[str, *_matching(_QUANTILE, QUANTILE_SENTENCE, 16)]
Number = Annotated[str, *_matching(_NUMBER, NUMBER_SENTENCE, 32)]


def parse_duration(text: str) -> timedelta:
    """Read `1h30m`, `10s` or `250ms`. Raises ValueError with what to write instead when a unit is missing."""
    if not re.match(_DURATION, text):
        raise ValueError(f"{text!r}: {DURATION_SENTENCE}")
    parts = re.findall(r"([0-9]+(?:[.][0-9]+)?)(ms|s|m|h)", text)
    return timedelta(seconds=sum(float(number) * _UNIT_SECONDS[unit] for number, unit in parts))


def parse_percent(text: str) -> float:
    """Read `1%` as the fraction 0.01. Raises ValueError with what to write instead when the sign is missing."""
    if not re.match(_INCREASE, text):
        raise ValueError(f"{text!r}: {INCREASE_SENTENCE}")
    return float(text[:-1]) / 100.0


def parse_bytes(text: str) -> int:
    """Read `64Mi` as a number of bytes. Raises ValueError with what to write instead for an unknown unit."""
    match = re.match(r"^([0-9]+)(Ki|Mi|Gi|k|M|G)?$", text)
    if not match:
        raise ValueError(f"{text!r}: {BYTES_SENTENCE}")
    return int(match[1]) * _UNIT_BYTES[match[2] or ""]
