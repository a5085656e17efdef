"""The small text forms of the API: durations, percentages, sizes, quantiles and numbers.

Each is a string on the wire, checked twice by the same pattern: by the API server (CEL, with a sentence) and here.
"""

from __future__ import annotations

import re
from datetime import timedelta
from functools import lru_cache
from typing import Annotated, Any

from pydantic import AfterValidator

from haldane.api.base import Rule, text

DURATION_PATTERN = r"^([0-9]{1,7}([.][0-9]{1,3})?(ms|s|m|h))+$"
_PERCENT = r"^(([0-9]|[1-9][0-9])([.][0-9]+)?|100([.]0+)?)%$"
_INCREASE = r"^[0-9]{1,6}([.][0-9]+)?%$"
# Below 1000Gi in every unit: what the runtime takes for a size.
_BYTES = r"^[1-9]([0-9]{0,11}|[0-9]{0,8}(Ki|k)|[0-9]{0,5}(Mi|M)|[0-9]{0,2}(Gi|G))$"
_QUANTILE = r"^0[.][0-9]*[1-9][0-9]*$"
# Two digits of exponent: every number that is accepted is finite.
NUMBER_PATTERN = r"^-?[0-9]+([.][0-9]+)?([eE][-+]?[0-9]{1,2})?$"

_UNIT_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_UNIT_BYTES = {"": 1, "k": 1000, "M": 1000**2, "G": 1000**3, "Ki": 1024, "Mi": 1024**2, "Gi": 1024**3}
LONGEST = timedelta(hours=8760)

DURATION_SENTENCE = "write a duration with a unit (ms, s, m or h) of at most 8760h, for example 30s or 1h30m"
PERCENT_SENTENCE = "write a percentage from 0% to 100% with its sign, for example 0.5%"
INCREASE_SENTENCE = "write a percentage with its sign, for example 20%"
BYTES_SENTENCE = "write whole bytes or a number with Ki, Mi or Gi, below 1000Gi, for example 64Mi"
QUANTILE_SENTENCE = 'write a quantile between 0 and 1 as a string, for example "0.99"'
NUMBER_SENTENCE = 'write a number as a string, for example "0.3"'
QUANTITY_SENTENCE = "write a Kubernetes quantity, for example 500m, 2 or 1Gi"


@lru_cache(1024)
def parse_duration(text: str) -> timedelta:
    """Read `1h30m`, `10s` or `250ms`. Raises ValueError with what to write instead for anything else."""
    if not re.fullmatch(DURATION_PATTERN, text):
        raise ValueError(f"{text!r}: {DURATION_SENTENCE}")
    parts = re.findall(r"([0-9]+(?:[.][0-9]+)?)(ms|s|m|h)", text)
    duration = timedelta(seconds=sum(float(number) * _UNIT_SECONDS[unit] for number, unit in parts))
    if duration > LONGEST:
        raise ValueError(f"{text!r}: {DURATION_SENTENCE}")
    return duration


@lru_cache(1024)
def parse_percent(text: str) -> float:
    """Read `1%` as the fraction 0.01. Raises ValueError with what to write instead when the sign is missing."""
    if not re.fullmatch(_INCREASE, text):
        raise ValueError(f"{text!r}: {INCREASE_SENTENCE}")
    return float(text[:-1]) / 100.0


def parse_bytes(text: str) -> int:
    """Read `64Mi` as a number of bytes. Raises ValueError with what to write instead for an unknown unit."""
    if not re.fullmatch(_BYTES, text):
        raise ValueError(f"{text!r}: {BYTES_SENTENCE}")
    number = text.rstrip("KMGik")
    return int(number) * _UNIT_BYTES[text[len(number) :]]


def _duration(least: str, most: str, sentence: str, word: str = "") -> Any:
    """`Annotated[str, *_duration(...)]`: a duration from `least` to `most`, or `word`; whatever else it is, one sentence says so."""
    low, high = parse_duration(least), parse_duration(most)

    def check(text: str) -> str:
        if text != word and not low <= parse_duration(text) <= high:
            raise ValueError(f"{text!r}: {sentence}")
        return text

    pattern = f"^({word}|{DURATION_PATTERN[1:-1]})$" if word else DURATION_PATTERN
    within = (f"duration(self) >= duration('{least}') && " if low else "") + f"duration(self) <= duration('{most}')"
    return (
        *text(pattern, sentence, 32, also=f"(self == '{word}' || {within})" if word else within),
        AfterValidator(check),
    )


Duration = Annotated[str, *_duration("0s", "8760h", DURATION_SENTENCE)]
PositiveDuration = Annotated[
    str, *_duration("0.001ms", "8760h", "write a duration above 0 with its unit, at most 8760h, for example 30s")
]
Interval = Annotated[str, *_duration("1s", "8760h", "write a duration from 1s to 8760h with its unit, for example 30s")]
RequestTimeout = Annotated[
    str, *_duration("1ms", "1h", "write a duration from 1ms to 1h with its unit, for example 10s")
]
AUTO = "auto"
QueueDelay = Annotated[
    str, *_duration("1ms", "1h", "write auto or a duration from 1ms to 1h with its unit, for example 100ms", AUTO)
]
BatchDelay = Annotated[str, *_duration("0s", "10s", "write a duration from 0s to 10s with its unit, for example 2ms")]
Percent = Annotated[str, *text(_PERCENT, PERCENT_SENTENCE, 16)]
Increase = Annotated[str, *text(_INCREASE, INCREASE_SENTENCE, 16)]
Bytes = Annotated[str, *text(_BYTES, BYTES_SENTENCE, 24)]
Quantile = Annotated[str, *text(_QUANTILE, QUANTILE_SENTENCE, 16)]
Number = Annotated[str, *text(NUMBER_PATTERN, NUMBER_SENTENCE, 32)]
# Checked by the API server alone, for only Kubernetes knows all that it takes for a quantity. No maxLength and no
# pattern: API servers before 1.34 reckon every integer-or-string as long as a request, so that a regular expression would
# be over their budget for rules.
Quantity = Annotated[
    int | str,
    Rule(
        "type(self) == int ? self >= 0 : isQuantity(self) && !quantity(self).isLessThan(quantity('0'))",
        QUANTITY_SENTENCE,
    ),
]
