"""The grammar of perturbations and augmentations, on a toy registry with every type of key."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from noiseproof.errors import InvalidArgumentError, UnknownNameError
from noiseproof.registry import Registry
from noiseproof.spec import format_part, parse


@dataclass(frozen=True)
class Patch:
    """One key of each type."""

    n: int
    size: float = 0.5
    fill: str = "black"
    inside: bool = True
    limit: int | None = None
    share: int | float = 1
    angle: float = field(default=0.0, kw_only=True)


@dataclass(frozen=True)
class Nothing:
    """No key at all."""


@dataclass(frozen=True)
class Named:
    """Nothing that may stand without its key."""

    level: float = field(kw_only=True)


PARTS: Registry[type] = Registry("part")
PARTS.register("patch")(Patch)
PARTS.register("nothing")(Nothing)
PARTS.register("named")(Named)

words = st.text("abcdefghijklmnopqrstuvwxyz-_", min_size=1)
numbers = st.floats(allow_infinity=False, allow_nan=False)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("patch:3", [Patch(3)]),
        ("patch:n=20,size=70", [Patch(20, 70.0)]),
        ("patch:1e2,size=1/4", [Patch(100, 0.25)]),
        ("patch:6/3", [Patch(2)]),
        ("patch:-3,size=-.5", [Patch(-3, -0.5)]),
        ("patch:3,fill=reflect,inside=no", [Patch(3, fill="reflect", inside=False)]),
        ("patch:3,inside=True", [Patch(3)]),
        ("patch:3,limit=4", [Patch(3, limit=4)]),
        ("patch:3,share=4", [Patch(3, share=4)]),
        ("patch:3,share=4.5", [Patch(3, share=4.5)]),
        ("patch:3,angle=9", [Patch(3, angle=9.0)]),
        ("named:level=2", [Named(level=2.0)]),
        ("nothing", [Nothing()]),
        ("nothing:", [Nothing()]),
        ("nothing+patch:1+nothing", [Nothing(), Patch(1), Nothing()]),
        ("patch:1,size=1e+2+nothing", [Patch(1, 100.0), Nothing()]),
        ("patch:1,size=1.e+2+patch:2", [Patch(1, 100.0), Patch(2)]),
        ("patch:n=1e+1", [Patch(10)]),
        (" patch : n = 3 + nothing ", [Patch(3), Nothing()]),
    ],
)
def test_what_a_text_means(text: str, expected: list[object]) -> None:
    assert parse(text, PARTS) == expected


def test_values_have_the_type_of_their_key() -> None:
    (patch,) = parse("patch:3,size=2,share=4,angle=1", PARTS)
    assert [type(value) for value in (patch.n, patch.size, patch.share, patch.angle)] == [int, float, int, float]


@pytest.mark.parametrize(
    ("part", "text"),
    [
        (("nothing", Nothing()), "nothing"),
        (("patch", Patch(3)), "patch:n=3"),
        (("patch", Patch(3, 0.1, inside=False, angle=2.0)), "patch:n=3,size=0.1,inside=no,angle=2.0"),
        (("patch", Patch(3, fill="reflect")), "patch:n=3,fill=reflect"),
        (("named", Named(level=1e30)), "named:level=1e+30"),
    ],
)
def test_the_canonical_text_shows_what_differs_from_the_defaults(part: tuple[str, object], text: str) -> None:
    assert format_part(*part) == text


@settings(max_examples=200, deadline=None, derandomize=True, database=None)
@given(
    st.lists(
        st.builds(Patch, st.integers(-(2**53), 2**53), numbers, words, st.booleans(), angle=numbers),
        min_size=1,
        max_size=3,
    )
)
def test_the_canonical_text_makes_equal_parts(patches: list[Patch]) -> None:
    assert parse("+".join(format_part("patch", patch) for patch in patches), PARTS) == patches


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "a part must not be empty; known: named, nothing, patch"),
        ("patch", "part 'patch' needs n, as in 'patch:n=…'"),
        ("named", "part 'named' needs level, as in 'named:level=…'"),
        ("patch:2.5", "n of the part 'patch' must be a whole number, got '2.5'"),
        ("patch:x", "n of the part 'patch' must be a number or a fraction such as 8/255, got 'x'"),
        ("patch:1,limit=2.5", "limit of the part 'patch' must be a whole number, got '2.5'"),
        ("patch:1,inside=2", "inside of the part 'patch' must be yes or no, got '2'"),
        ("patch:1,n=2", "part 'patch:1,n=2' gives 'n' twice"),
        ("patch:1,2", "part 'patch:1,2': write '2' as key=value; patch takes n, size, fill, inside, limit, share"),
        ("patch:size=1,2", "write '2' as key=value"),
        ("named:2", "part 'named:2': write '2' as key=value; named takes level"),
        ("nothing:2", "part 'nothing:2': write '2' as key=value; nothing takes no values"),
        ("patch:1+", "part 'patch:1+' has an empty part"),
        ("patch:1+ +nothing", "has an empty part"),
    ],
)  # fmt: skip
def test_a_wrong_text_is_told_what_is_wrong(text: str, message: str) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        parse(text, PARTS)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("pach:1", "unknown part 'pach'; did you mean 'patch'?"),
        ("zzz", "unknown part 'zzz'; known: named, nothing, patch"),
        ("patch:sise=1", "unknown key of the part 'patch': 'sise'; did you mean 'size'?"),
        ("nothing:n=1", "unknown key of the part 'nothing': 'n'"),
    ],
)
def test_an_unknown_name_gets_a_suggestion(text: str, message: str) -> None:
    with pytest.raises(UnknownNameError) as caught:
        parse(text, PARTS)
    assert str(caught.value) == message
