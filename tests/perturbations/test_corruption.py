"""The corruptions of CIFAR-10-C and ImageNet-C are the plain perturbations with the published strengths."""

from __future__ import annotations

import pytest
import torch

import noiseproof as npf
from noiseproof.errors import InvalidArgumentError, UnknownNameError

# D. Hendrycks and T. Dietterich, github.com/hendrycks/robustness, ImageNet-C/create_c/make_{cifar,imagenet}_c.py
PUBLISHED: dict[str, dict[str, list[str]]] = {
    "cifar": {
        "gaussian-noise": ["gaussian:0.04", "gaussian:0.06", "gaussian:0.08", "gaussian:0.09", "gaussian:0.10"],
        "shot-noise": ["shot:500", "shot:250", "shot:100", "shot:75", "shot:50"],
        "impulse-noise": ["impulse:0.01", "impulse:0.02", "impulse:0.03", "impulse:0.05", "impulse:0.07"],
        "speckle-noise": ["speckle:0.06", "speckle:0.1", "speckle:0.12", "speckle:0.16", "speckle:0.2"],
        "gaussian-blur": [f"gaussian-blur:{std}" for std in (0.4, 0.6, 0.7, 0.8, 1)],
        "motion-blur": [
            "motion-blur:6,std=1",
            "motion-blur:6,std=1.5",
            "motion-blur:6,std=2",
            "motion-blur:8,std=2",
            "motion-blur:9,std=2.5",
        ],
        "fog": ["fog:0.2,decay=3", "fog:0.5,decay=3", "fog:0.75,decay=2.5", "fog:1,decay=2", "fog:1.5,decay=1.75"],
        "brightness": [f"brightness:{shift}" for shift in (0.05, 0.1, 0.15, 0.2, 0.3)],
        "contrast": [f"contrast:{factor}" for factor in (0.75, 0.5, 0.4, 0.3, 0.15)],
        "pixelate": [f"pixelate:{factor}" for factor in (0.95, 0.9, 0.85, 0.75, 0.65)],
        "jpeg": [f"jpeg:{quality}" for quality in (80, 65, 58, 50, 40)],
    },
    "imagenet": {
        "gaussian-noise": ["gaussian:0.08", "gaussian:0.12", "gaussian:0.18", "gaussian:0.26", "gaussian:0.38"],
        "shot-noise": ["shot:60", "shot:25", "shot:12", "shot:5", "shot:3"],
        "impulse-noise": ["impulse:0.03", "impulse:0.06", "impulse:0.09", "impulse:0.17", "impulse:0.27"],
        "speckle-noise": ["speckle:0.15", "speckle:0.2", "speckle:0.35", "speckle:0.45", "speckle:0.6"],
        "gaussian-blur": [f"gaussian-blur:{std}" for std in (1, 2, 3, 4, 6)],
        "motion-blur": [
            "motion-blur:10,std=3",
            "motion-blur:15,std=5",
            "motion-blur:15,std=8",
            "motion-blur:15,std=12",
            "motion-blur:20,std=15",
        ],
        "fog": ["fog:1.5,decay=2", "fog:2,decay=2", "fog:2.5,decay=1.7", "fog:2.5,decay=1.5", "fog:3,decay=1.4"],
        "brightness": [f"brightness:{shift}" for shift in (0.1, 0.2, 0.3, 0.4, 0.5)],
        "contrast": [f"contrast:{factor}" for factor in (0.4, 0.3, 0.2, 0.1, 0.05)],
        "pixelate": [f"pixelate:{factor}" for factor in (0.6, 0.5, 0.4, 0.3, 0.25)],
        "jpeg": [f"jpeg:{quality}" for quality in (25, 18, 15, 10, 7)],
    },
}
CASES = [
    (table, kind, severity, plain)
    for table, kinds in PUBLISHED.items()
    for kind, plains in kinds.items()
    for severity, plain in enumerate(plains, 1)
]
NOT_RANDOM = {"gaussian-blur", "brightness", "contrast", "pixelate", "jpeg"}
each_case = pytest.mark.parametrize(
    ("table", "kind", "severity", "plain"), CASES, ids=[f"{case[0]}-{case[1]}-{case[2]}" for case in CASES]
)


def test_there_are_five_strengths_of_eleven_kinds_in_two_tables() -> None:
    assert len(CASES) == 5 * 11 * 2
    assert len(set(CASES)) == 110


@each_case
def test_a_corruption_is_the_plain_perturbation_of_the_published_strength(
    table: str, kind: str, severity: int, plain: str
) -> None:
    x = torch.rand(2, 3, 32, 32)
    corrupted = npf.perturbation(f"corruption:{kind},severity={severity},table={table}")
    expected = npf.perturbation(plain)(x, torch.Generator().manual_seed(4))
    assert torch.equal(corrupted(x, torch.Generator().manual_seed(4)), expected)
    assert not torch.equal(expected, x)
    assert npf.perturbation(corrupted.spec) == corrupted
    if kind in NOT_RANDOM:
        assert torch.equal(corrupted(x), expected)
    else:
        assert corrupted.random
        assert torch.equal(corrupted(x, 1), corrupted(x, 1))
        assert not torch.equal(corrupted(x, 1), corrupted(x, 2))


@pytest.mark.parametrize("kind", PUBLISHED["cifar"])
def test_the_table_is_cifars_unless_told_otherwise(kind: str) -> None:
    x = torch.rand(2, 3, 32, 32)
    short, cifar, imagenet = (
        npf.perturbation(f"corruption:{kind},severity=2{table}") for table in ("", ",table=cifar", ",table=imagenet")
    )
    assert short == cifar
    assert torch.equal(short(x, 0), cifar(x, 0))
    assert not torch.equal(short(x, torch.Generator()), imagenet(x, torch.Generator()))


@pytest.mark.parametrize("table", ["cifar", "imagenet"])
@pytest.mark.parametrize("kind", PUBLISHED["cifar"])
def test_a_greater_severity_changes_more(kind: str, table: str) -> None:
    side = torch.linspace(0, 3, 32)
    x = (0.5 + 0.3 * torch.sin(3 * side) * torch.cos(4 * side).unsqueeze(1)).expand(32, 3, -1, -1)
    x = (x + 0.1 * torch.rand(x.shape)).clamp(0, 1)
    changes = [
        float((npf.perturbation(f"corruption:{kind},severity={severity},table={table}")(x, 0) - x).square().mean())
        for severity in range(1, 6)
    ]
    assert changes[0] < changes[2] < changes[4]


@pytest.mark.parametrize("kind", ["gaussian-noise", "speckle-noise", "shot-noise"])
def test_a_corruption_may_be_told_not_to_clamp(kind: str) -> None:
    x = torch.rand(4, 3, 16, 16)
    corrupted = npf.perturbation(f"corruption:{kind},severity=5,table=imagenet,clamp=no")
    assert float(corrupted(x, 0).max()) > 1
    plain = npf.perturbation(PUBLISHED["imagenet"][kind][4] + ",clamp=no")
    assert torch.equal(corrupted(x, torch.Generator()), plain(x, torch.Generator()))


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("corruption:jpg,severity=1", ["'jpg'", "did you mean 'jpeg'?"]),
        ("corruption:gaussian,severity=1", ["'gaussian'", "did you mean 'gaussian-"]),
        ("corruption:snow,severity=1", ["'snow'", "kind", "corruption"]),
        ("corruption:fog,severity=1,table=cifr", ["'cifr'", "did you mean 'cifar'?"]),
        ("corruption:fog,severity=1,table=mnist", ["'mnist'", "table", "corruption", "cifar", "imagenet"]),
    ],
)
def test_an_unknown_kind_or_table_is_told_what_is_known(text: str, parts: list[str]) -> None:
    with pytest.raises(UnknownNameError) as caught:
        npf.perturbation(text)
    assert all(part in str(caught.value) for part in parts)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("severity", ["0", "6", "-1", "1.5", "high"])
def test_a_severity_is_a_whole_number_from_one_to_five(severity: str) -> None:
    with pytest.raises(InvalidArgumentError, match="severity of the perturbation 'corruption'"):
        npf.perturbation(f"corruption:fog,severity={severity}")
