"""Durations, percentages and sizes are read as they are meant, and nothing else is read at all."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from haldane.api import quantity

DURATIONS = {
    "0s": timedelta(0),
    "10s": timedelta(seconds=10),
    "250ms": timedelta(milliseconds=250),
    "0.001ms": timedelta(microseconds=1),
    "1.5h": timedelta(minutes=90),
    "1h30m": timedelta(minutes=90),
    "30m1h": timedelta(minutes=90),
    "1h0m1s": timedelta(hours=1, seconds=1),
    "8760h": timedelta(days=365),
}
NO_DURATIONS = ("", "10", "1d", "10 s", " 10s", "10s\n", "-10s", "1h30", ".5s", "1.h", "s", "8761h", "99999999h", "٣s")

PERCENTAGES = {"0%": 0.0, "1%": 0.01, "0.5%": 0.005, "20%": 0.2, "100%": 1.0, "250%": 2.5}
NO_PERCENTAGES = ("", "1", "0.01", "%", "1 %", "-1%", "1%%", "1.%", "1%\n")

SIZES = {
    "1": 1,
    "67108864": 64 * 2**20,
    "64Mi": 64 * 2**20,
    "1Gi": 2**30,
    "2Ki": 2048,
    "1k": 1000,
    "3M": 3 * 10**6,
    "1G": 10**9,
}
NO_SIZES = ("", "0", "0Mi", "64MB", "64mi", "1.5Gi", "-1", "1Ti", "1K", "Mi", "1 Mi", "1Mi\n")


@pytest.mark.parametrize(("text", "meant"), DURATIONS.items())
def test_durations(text: str, meant: timedelta) -> None:
    assert quantity.parse_duration(text) == meant


@pytest.mark.parametrize("text", NO_DURATIONS)
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match=r"for example 30s or 1h30m") as refused:
        quantity.parse_duration(text)
    assert repr(text) in str(refused.value)


@pytest.mark.parametrize(("text", "meant"), PERCENTAGES.items())
def test_percentages(text: str, meant: float) -> None:
    assert quantity.parse_percent(text) == pytest.approx(meant)


@pytest.mark.parametrize("text", NO_PERCENTAGES)
def test_what_is_no_percentage(text: str) -> None:
    with pytest.raises(ValueError, match="with its sign, for example 20%"):
        quantity.parse_percent(text)


@pytest.mark.parametrize(("text", "meant"), SIZES.items())
def test_sizes(text: str, meant: int) -> None:
    assert quantity.parse_bytes(text) == meant


@pytest.mark.parametrize("text", NO_SIZES)
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(ValueError, match="for example 64Mi"):
        quantity.parse_bytes(text)


@given(
    hours=st.integers(0, 8000),
    minutes=st.integers(0, 59),
    seconds=st.integers(0, 59),
    milliseconds=st.integers(0, 999),
)
def test_a_duration_is_the_sum_of_its_parts(hours: int, minutes: int, seconds: int, milliseconds: int) -> None:
    meant = timedelta(hours=hours, minutes=minutes, seconds=seconds, milliseconds=milliseconds)
    read = quantity.parse_duration(f"{hours}h{minutes}m{seconds}s{milliseconds}ms")
    assert abs(read - meant) <= timedelta(microseconds=1)


@given(st.integers(1, 999), st.sampled_from(["", "k", "M", "G", "Ki", "Mi", "Gi"]))
def test_a_size_grows_with_its_number_and_unit(number: int, unit: str) -> None:
    read = quantity.parse_bytes(f"{number}{unit}")
    assert read % number == 0
    assert read >= number
    assert (read == number) == (unit == "")


@given(st.text(max_size=40))
def test_any_text_is_read_or_refused_with_a_sentence(text: str) -> None:
    for parse in (quantity.parse_duration, quantity.parse_percent, quantity.parse_bytes):
        try:
            parse(text)
        except ValueError as refused:
            sentence = str(refused)
        else:
            continue
        assert "for example" in sentence


FORMS: dict[str, tuple[Any, tuple[str, ...], tuple[str, ...]]] = {
    # the form, what it takes, what it refuses
    "duration": (quantity.Duration, tuple(DURATIONS), NO_DURATIONS),
    "positive duration": (quantity.PositiveDuration, ("1ms", "0.001ms", "8760h"), ("0s", "0h0m", "0.000ms", "10")),
    "interval": (quantity.Interval, ("1s", "1000ms", "1h"), ("0s", "999ms", "0.9s", "1")),
    "request timeout": (quantity.RequestTimeout, ("1ms", "1h", "60m"), ("0s", "0.999ms", "61m", "10")),
    "batch delay": (quantity.BatchDelay, ("0s", "0.001ms", "10s"), ("10.001s", "1m", "2", "-1s")),
    "percentage": (quantity.Percent, ("0%", "99.9%", "100%", "100.0%"), ("100.1%", "101%", "-1%", "1", "00%")),
    "increase": (quantity.Increase, ("0%", "20%", "250%"), ("-1%", "20", "1e3%")),
    "quantile": (quantity.Quantile, ("0.5", "0.99", "0.999", "0.050"), ("0", "1", "0.0", "1.0", "99", ".5", "-0.5")),
    "number": (quantity.Number, ("0", "-1", "0.3", "1e-3", "2E+10"), ("", "nan", "inf", "1e999", "1,5", "0x1", "1.")),
    "bytes": (quantity.Bytes, tuple(SIZES), NO_SIZES),
}


@pytest.mark.parametrize(("form", "good", "bad"), FORMS.values(), ids=FORMS.keys())
def test_forms(form: Any, good: tuple[str, ...], bad: tuple[str, ...]) -> None:
    adapter = TypeAdapter(form)
    for text in good:
        assert adapter.validate_python(text) == text
    for text in bad:
        with pytest.raises(ValidationError, match="write "):
            adapter.validate_python(text)


@given(st.from_regex(quantity.NUMBER_PATTERN, fullmatch=True))
def test_every_number_that_is_accepted_is_finite(text: str) -> None:
    assert abs(float(text)) < float("inf") or len(text) > 32
