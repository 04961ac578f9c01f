"""Perturbations as text: what is read, what is written, and what a wrong text is told."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import noiseproof as npf
from noiseproof.errors import InvalidArgumentError, UnknownNameError
from noiseproof.perturbations import Chain
from noiseproof.perturbations.noise import Clean, GaussianNoise, UniformNoise

strengths = st.floats(0, allow_infinity=False, allow_nan=False)
parts = st.one_of(
    st.builds(Clean, clamp=st.booleans()),
    st.builds(GaussianNoise, strengths, clamp=st.booleans()),
    st.builds(UniformNoise, strengths, clamp=st.booleans()),
)
many = settings(max_examples=200, deadline=None, derandomize=True, database=None)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("clean", Clean()),
        ("gaussian:0.1", GaussianNoise(0.1)),
        ("gaussian:8/255", GaussianNoise(8 / 255)),
        ("gaussian:std=40/255", GaussianNoise(40 / 255)),
        ("uniform:0.06", UniformNoise(0.06)),
        ("uniform:amplitude=.5,clamp=no", UniformNoise(0.5, clamp=False)),
        ("gaussian:clamp=yes,std=1", GaussianNoise(1.0)),
        ("gaussian:1,clamp=FALSE", GaussianNoise(1.0, clamp=False)),
        ("gaussian:1e-3", GaussianNoise(1e-3)),
        ("gaussian:1e+3", GaussianNoise(1e3)),
        ("  gaussian : std = 8/255 , clamp = no ", GaussianNoise(8 / 255, clamp=False)),
        ("gaussian:0.1+uniform:0.2", Chain((GaussianNoise(0.1), UniformNoise(0.2)))),
        ("gaussian:1e+1+uniform:2E+2+clean", Chain((GaussianNoise(10.0), UniformNoise(200.0), Clean()))),
        (" clean + gaussian:1 ", Chain((Clean(), GaussianNoise(1.0)))),
        ("gaussian:1+gaussian:1", Chain((GaussianNoise(1.0), GaussianNoise(1.0)))),
    ],
)
def test_what_a_text_means(text: str, expected: npf.Perturbation) -> None:
    assert npf.perturbation(text) == expected


@pytest.mark.parametrize(
    ("perturbation", "text"),
    [
        (Clean(), "clean"),
        (Clean(clamp=False), "clean:clamp=no"),
        (GaussianNoise(0.25), "gaussian:std=0.25"),
        (UniformNoise(0.25, clamp=False), "uniform:amplitude=0.25,clamp=no"),
        (Chain((Clean(), GaussianNoise(0.5))), "clean+gaussian:std=0.5"),
    ],
)
def test_the_canonical_text(perturbation: npf.Perturbation, text: str) -> None:
    assert perturbation.spec == str(perturbation) == text


@many
@given(parts)
def test_the_canonical_text_makes_an_equal_perturbation(part: npf.Perturbation) -> None:
    again = npf.perturbation(part.spec)
    assert again == part
    assert type(again) is type(part)
    assert again.spec == part.spec


@many
@given(st.lists(parts, min_size=2, max_size=4).map(lambda items: Chain(tuple(items))))
def test_the_canonical_text_of_a_chain_makes_an_equal_chain(chain: Chain) -> None:
    assert npf.perturbation(chain.spec) == chain


@pytest.mark.parametrize("strength", [1, 0, np.float64(0.1), np.float32(0.5), np.int64(2)])
def test_a_strength_of_another_number_type_is_written_as_a_plain_number(strength: float) -> None:
    noise = GaussianNoise(strength)
    assert noise.spec == GaussianNoise(float(strength)).spec
    assert npf.perturbation(noise.spec) == noise


def test_a_perturbation_is_its_own_text() -> None:
    noise = GaussianNoise(0.5)
    assert npf.perturbation(noise) is noise


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("gausian:0.1", ["unknown perturbation 'gausian'", "did you mean 'gaussian'?"]),
        ("Uniform:0.1", ["unknown perturbation 'Uniform'", "did you mean 'uniform'?"]),
        ("zzz", ["unknown perturbation 'zzz'", "known: ", "clean", "gaussian", "uniform"]),
        ("gaussian:0.1+unifrm:1", ["unknown perturbation 'unifrm'", "did you mean 'uniform'?"]),
        ("chain", ["unknown perturbation 'chain'"]),
        ("gaussian:sdt=0.1", ["key of the perturbation 'gaussian'", "'sdt'", "did you mean 'std'?"]),
        ("uniform:std=0.1", ["key of the perturbation 'uniform'", "'std'", "known: amplitude, clamp"]),
        ("gaussian:0.1,clmp=no", ["'clmp'", "did you mean 'clamp'?"]),
    ],
)
def test_an_unknown_name_gets_a_suggestion(text: str, parts: list[str]) -> None:
    with pytest.raises(UnknownNameError) as caught:
        npf.perturbation(text)
    assert all(part in str(caught.value) for part in parts)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "a perturbation must not be empty; known: brightness, clean, clipping, contrast, "),
        ("   ", "a perturbation must not be empty; known: "),
        ("gaussian", "perturbation 'gaussian' needs std, as in 'gaussian:std=…'"),
        ("uniform:clamp=no", "needs amplitude, as in 'uniform:amplitude=…'"),
        ("gaussian:", "needs std"),
        ("gaussian:0.1+", "perturbation 'gaussian:0.1+' has an empty part"),
        ("+gaussian:0.1", "has an empty part"),
        (":0.1", "has an empty part"),
        ("gaussian:0.1++uniform:1", "has an empty part"),
        ("gaussian:a", "std of the perturbation 'gaussian' must be a number or a fraction such as 8/255, got 'a'"),
        ("gaussian:8/0", "fraction such as 8/255, got '8/0'"),
        ("gaussian:8/255/2", "got '8/255/2'"),
        ("gaussian:/255", "got '/255'"),
        ("gaussian:nan", "got 'nan'"),
        ("gaussian:inf", "got 'inf'"),
        ("gaussian:std=", "got ''"),
        ("gaussian:-0.1", "std of the perturbation 'gaussian' must be >= 0, got -0.1"),
        ("uniform:-1/255", "amplitude of the perturbation 'uniform' must be >= 0, got -0.0039"),
        ("gaussian:0.1,0.2", "write '0.2' as key=value; gaussian takes"),
        ("clean:5", "write '5' as key=value; clean takes clamp"),
        ("gaussian:std=0.1,std=0.1", "gives 'std' twice"),
        ("gaussian:0.1,std=0.1", "gives 'std' twice"),
        ("gaussian:0.1,clamp=maybe", "clamp of the perturbation 'gaussian' must be yes or no, got 'maybe'"),
        ("gaussian:0.1,clamp=1", "must be yes or no, got '1'"),
    ],
)
def test_a_wrong_text_is_told_what_is_wrong(text: str, message: str) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        npf.perturbation(text)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
