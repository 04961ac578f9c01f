"""Lengths of time, read and written."""

from __future__ import annotations

import pytest

from noiseproof.durations import in_words, seconds
from noiseproof.errors import InvalidArgumentError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("90s", 90),
        ("9m", 540),
        ("1.5h", 5400),
        ("1h30m", 5400),
        ("1h30m15s", 5415),
        ("2d", 172800),
        ("1d12h", 129600),
        ("45", 45),
        ("0.5", 0.5),
        ("0.001s", 0.001),
        ("0h9m", 540),
        ("  9m ", 540),
        ("9m\n", 540),
        ("007m", 420),
    ],
)
def test_lengths_as_people_write_them(text: str, expected: float) -> None:
    assert seconds(text) == pytest.approx(expected)


@pytest.mark.parametrize(
    "text",
    [
        "", " ", "m", "h30", "-5m", "+5m", "- 5m", "5x", "5 m", "1h 30m", "1 h 30 min", "9min", "9M", "9m;", "9m -j 2",
        "1e3", "1e3s", "nan", "inf", "infinity", "-inf", "0x10", "1_000", "1,5h", ".5h", "5.", "5.h", "1.5.2h",
        "1..5h", "half an hour", "None", "m9", "9mm", "９ｍ", "9\nm", "9m\x00", "$(reboot)", "%s", "{0}",
    ],
)  # fmt: skip
def test_anything_else_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(InvalidArgumentError, match="1h30m"):
        seconds(text)


@pytest.mark.parametrize("text", ["0", "0s", "0m", "0.0h", "0h0m0s", "000"])
def test_no_time_at_all_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgumentError, match="above 0"):
        seconds(text)


@pytest.mark.parametrize("text", ["9" * 400, "9" * 400 + "d", "1h" + "9" * 310 + "m"], ids=["s", "d", "hm"])
def test_a_length_without_end_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgumentError):
        seconds(text)


def test_a_long_text_is_refused_too() -> None:
    with pytest.raises(InvalidArgumentError):
        seconds("1" * 100_000 + "x")


@pytest.mark.parametrize(
    ("length", "expected"),
    [
        (0, "0 s"),
        (0.4, "0 s"),
        (1, "1 s"),
        (40.2, "40 s"),
        (59.4, "59 s"),
        (59.6, "1 min"),
        (60, "1 min"),
        (61, "1 min"),
        (719, "12 min"),
        (720, "12 min"),
        (3540, "59 min"),
        (3599, "1 h 0 min"),
        (3600, "1 h 0 min"),
        (5400, "1 h 30 min"),
        (7199, "2 h 0 min"),
        (86400, "24 h 0 min"),
        (360_000, "100 h 0 min"),
    ],
)
def test_lengths_in_words(length: float, expected: str) -> None:
    assert in_words(length) == expected


@pytest.mark.parametrize("length", [1, 59, 61, 1000, 3599, 3601, 5000, 50_000])
def test_words_are_within_half_a_minute_of_the_length(length: int) -> None:
    words = in_words(length).replace(" min", "m").replace(" h", "h").replace(" s", "s").replace(" ", "")
    assert seconds(words) == pytest.approx(length, abs=30)
