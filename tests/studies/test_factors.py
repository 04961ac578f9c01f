"""What varies is read from a text, drawn from its range evenly, and a mistake in it says how to mend it."""

from __future__ import annotations

import contextlib
import json
import math
import re
from collections import Counter

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare, kstest

from noiseproof.errors import InvalidArgumentError, NoiseproofError
from noiseproof.studies.factors import Factor, Range, factor, short_keys

# Text to values


@pytest.mark.parametrize(
    ("text", "path", "values"),
    [
        ("train.epochs=10,20", "train.epochs", (10, 20)),
        (" train.epochs = 10 , 20 ", "train.epochs", (10, 20)),
        ("train.epochs=10", "train.epochs", (10,)),
        ("a=1,2.5,-3", "a", (1, 2.5, -3)),
        ("a=1e-3,1E2,2.5e-4", "a", (1e-3, 100.0, 2.5e-4)),
        ("a=true,false", "a", (True, False)),
        ("a=null,0.1", "a", (None, 0.1)),
        ("a=~,none", "a", (None, "none")),
        ("methods.mixed.passes=joint,separate", "methods.mixed.passes", ("joint", "separate")),
        ("noise.train=gaussian:8/255,gaussian:16/255", "noise.train", ("gaussian:8/255", "gaussian:16/255")),
        ('noise.train="occlusion:n=20,size=70",clean', "noise.train", ("occlusion:n=20,size=70", "clean")),
        ("noise.train='gaussian:std=0.1,mean=0'", "noise.train", ("gaussian:std=0.1,mean=0",)),
        ("noise.train=blur:1+gaussian:0.1,gaussian:0.1", "noise.train", ("blur:1+gaussian:0.1", "gaussian:0.1")),
        ('a="5",5', "a", ("5", 5)),
        ("a='',b", "a", ("", "b")),
        ("a=x=1,x=2", "a", ("x=1", "x=2")),
        ("a=small cnn,b", "a", ("small cnn", "b")),
        ("a=x,y..z", "a", ("x", "y..z")),
    ],
)
def test_a_list_is_a_yaml_list_without_its_brackets(text: str, path: str, values: tuple[object, ...]) -> None:
    read = factor(text)
    assert (read.path, read.values) == (path, values)
    assert [type(value) for value in read.listed] == [type(value) for value in values]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a=0.1..10", Range(low=0.1, high=10)),
        ("a=0.1..10,log", Range(low=0.1, high=10, scale="log")),
        (" a = 0.1 .. 10 , log ", Range(low=0.1, high=10, scale="log")),
        ("a=1e-4..1e-1,log", Range(low=1e-4, high=0.1, scale="log")),
        ("a=-1..1,linear", Range(low=-1, high=1)),
        ("a=.5..1.", Range(low=0.5, high=1)),
    ],
)
def test_two_dots_are_a_range(text: str, expected: Range) -> None:
    assert factor(text) == Factor(path="a", values=expected)


VALUES = st.one_of(
    st.booleans(), st.none(), st.integers(-(10**9), 10**9), st.floats(allow_nan=False, allow_infinity=False),
    st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=12),
)  # fmt: skip


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(values=st.lists(VALUES, min_size=1, max_size=4, unique_by=repr))
def test_values_written_as_yaml_are_read_back(values: list[object]) -> None:
    written = ",".join(json.dumps(value) for value in values)
    assume(".." not in written.partition(",")[0])
    for value in values:  # texts that look like numbers are numbers in every recipe
        if isinstance(value, str) and "e" in value.lower():
            with contextlib.suppress(ValueError):
                float(value)
                assume(False)
    read = factor(f"a={written}")
    assert [repr(value) for value in read.listed] == [repr(value) for value in values]


# Mistakes


@settings(max_examples=150, deadline=None, derandomize=True, database=None)
@given(text=st.text(max_size=30) | st.text("a=.,0123456789e-'\"[]{}:#&*!%@`|> \n\t~null", max_size=30))
@example("a==")
@example("a=*x")
@example("a=2020-99-99")
@example("a=!!int x")
@example("a=..")
@example("a=0..1e999,log")
@example("a=" + "[" * 50)
@example("\x00=\x00")
@example("a=\ud800")
def test_any_text_is_a_factor_or_an_error_of_ours(text: str) -> None:
    with contextlib.suppress(NoiseproofError):
        assert isinstance(factor(text), Factor)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "key=value,value, such as train.epochs=10,20, got ''"),
        ("train.epochs", "key=value,value, such as train.epochs=10,20, got 'train.epochs'"),
        ("=1,2", "key=value,value, such as"),
        ("train.epochs=", "key=value,value, such as"),
        ("train.epochs= ", "key=value,value, such as"),
        ("a=1,2,1", "no value may stand twice"),
        ("a=null,~", "no value may stand twice"),
        ("a=2..1", "low must be below high, got 2 and 1"),
        ("a=1..1", "low must be below high, got 1 and 1"),
        ("a=0..1,log", "on a logarithmic scale low must be above 0, got 0"),
        ("a=-1..1,log", "on a logarithmic scale low must be above 0, got -1"),
        ("a=1..2,cubic", "'linear' or 'log'"),
        ("a=1..inf", "finite number"),
        ("a=nan..1", "finite number"),
        ("a='x", "not valid YAML"),
        ("a=1,,2", "not valid YAML"),
        ("a=&x 1,*x", "uses YAML aliases"),
        ("a=!!python/object:os.system x", "not valid YAML"),
    ],
)
def test_a_mistake_says_what_is_wrong(text: str, told: str) -> None:
    with pytest.raises(InvalidArgumentError, match=re.escape(told)):
        factor(text)


@pytest.mark.parametrize(
    "text",
    [
        "a=[1],[2]",
        "a=b: 1,c: 2",
        "a=2020-01-01",
        "1a=1,2",
        "train..epochs=1,2",
        "train.epochs.=1,2",
        "train epochs=1,2",
        "a=1..",
        "a=..2",
        "a=1..2..3",
        "a=1,2,1",
        "a=2..1",
        "a=1..2,cubic",
    ],
)
def test_a_mistake_is_told_in_words_for_users(text: str) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        factor(text)
    cryptic = r"\[type=|input_value|Value error|instance of|valid dictionary|string to float|\^\[A-Z"
    assert not re.search(cryptic, str(caught.value))


@pytest.mark.parametrize("text", ["a='../x','../y'", 'a="1..2",b', "a='x..y'"])
def test_two_dots_in_quotes_are_text(text: str) -> None:
    assert all(isinstance(value, str) for value in factor(text).listed)


@pytest.mark.parametrize("low_high", [(2, 1), (1, 1), (math.nan, 1), (0, math.inf)])
def test_a_range_rises_and_is_finite(low_high: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match=r"low must be below high|finite"):
        Range(low=low_high[0], high=low_high[1])


def test_a_range_has_no_list() -> None:
    with pytest.raises(InvalidArgumentError, match=r"train\.epochs is a range, which only the design 'random' draws"):
        _ = factor("train.epochs=1..10").listed


# Draws


def drawn(text: str, count: int, seed: int = 0) -> list[object]:
    of_it = factor(text)
    return [of_it.draw(seed, index) for index in range(count)]


@pytest.mark.parametrize(("low", "high"), [(0.0, 10.0), (-3.0, 2.0), (1e-3, 1e3), (0.1, 1.0)])
@pytest.mark.parametrize("seed", [0, 1])
def test_a_linear_range_is_drawn_from_evenly(low: float, high: float, seed: int) -> None:
    values = np.array(drawn(f"a={low}..{high}", 2000, seed), dtype=float)
    assert ((low <= values) & (values <= high)).all()
    assert kstest((values - low) / (high - low), "uniform").pvalue > 1e-3


@pytest.mark.parametrize(("low", "high"), [(0.1, 10.0), (1e-6, 1e-1), (1.0, 1e5)])
@pytest.mark.parametrize("seed", [0, 1])
def test_a_logarithmic_range_is_drawn_from_evenly_in_the_logarithm(low: float, high: float, seed: int) -> None:
    values = np.array(drawn(f"a={low}..{high},log", 2000, seed), dtype=float)
    assert ((low <= values) & (values <= high)).all()
    assert kstest(np.log(values / low) / math.log(high / low), "uniform").pvalue > 1e-3
    assert kstest((values - low) / (high - low), "uniform").pvalue < 1e-6  # the test can tell the two apart


def test_a_list_is_drawn_from_evenly() -> None:
    counts = Counter(drawn("a=x,y,z", 3000))
    assert set(counts) == {"x", "y", "z"}
    assert chisquare(list(counts.values())).pvalue > 1e-3


def test_factors_are_drawn_independently_and_repeatably() -> None:
    a, b = (np.array(drawn(f"{name}=0..1", 1000), dtype=float) for name in "ab")
    other = np.array(drawn("a=0..1", 1000, seed=1), dtype=float)
    assert abs(np.corrcoef(a, b)[0, 1]) < 0.12
    assert abs(np.corrcoef(a, other)[0, 1]) < 0.12
    assert abs(np.corrcoef(a[:-1], a[1:])[0, 1]) < 0.12
    assert drawn("a=0..1", 1000) == list(a)


@pytest.mark.parametrize("scale", ["linear", "log"])
def test_the_way_through_a_range_has_its_ends_and_its_middle(scale: str) -> None:
    span = Range(low=0.01, high=1, scale=scale)
    assert (span.at(0), span.at(1)) == (0.01, 1)
    assert span.at(0.5) == pytest.approx(0.1 if scale == "log" else 0.505)


@pytest.mark.parametrize(("low", "high"), [(0.9, 0.9996), (0.12345, 0.2), (1000, 1004)])
def test_rounding_stays_within_the_range(low: float, high: float) -> None:
    """A momentum, or a decay of an average of weights, that is rounded to 1 is refused by the recipe."""
    values = {Range(low=low, high=high).at(share / 100) for share in range(100)}
    assert all(low <= value <= high for value in values)
    assert len(values) > 20
    assert max(Range(low=low, high=high).at(0.9999) for _ in "1") <= high


@pytest.mark.parametrize("span", [{"low": 1e-200, "high": 1e200, "scale": "log"}, {"low": -1e308, "high": 1e308}])
def test_the_widest_ranges_have_a_middle(span: dict[str, float]) -> None:
    assert math.isfinite(Range.model_validate(span).at(0.5))


# Short names


def test_short_names_tell_paths_apart() -> None:
    assert short_keys(["train.optimizer.lr", "methods.discriminative.delta_d"]) == {
        "train.optimizer.lr": "lr", "methods.discriminative.delta_d": "delta_d",
    }  # fmt: skip
    assert short_keys(["methods.noisy.passes", "methods.mixed.passes"]) == {
        "methods.noisy.passes": "noisy.passes", "methods.mixed.passes": "mixed.passes",
    }  # fmt: skip
    assert short_keys(["method", "a.method"]) == {"method": "method", "a.method": "a.method"}


PATHS = st.lists(
    st.lists(st.sampled_from(["a", "b", "ab", "c"]), min_size=1, max_size=4).map(".".join),
    min_size=1, max_size=5, unique=True,
)  # fmt: skip


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(paths=PATHS)
def test_short_names_are_ends_of_their_paths_and_no_two_are_alike(paths: list[str]) -> None:
    short = short_keys(paths)
    assert list(short) == paths
    assert len(set(short.values())) == len(paths)
    assert all(f".{path}".endswith(f".{end}") for path, end in short.items())
