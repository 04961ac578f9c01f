"""What every registered perturbation promises about a batch, whatever it does to it."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from torch import Tensor

import noiseproof as npf
from noiseproof import seeding
from noiseproof.errors import InvalidArgumentError
from noiseproof.perturbations import PERTURBATIONS, Perturbation

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]

FIXED = [
    "clean",
    "downup",
    "downup:0.5",
    "pixelate:0.6",
    "gaussian-blur:0.8",
    "brightness:0.2",
    "brightness:-0.3",
    "contrast:0.5",
    "contrast:2",
    "jpeg:50",
    "quantization:0.1",
    "corruption:jpeg,severity=3",
    "corruption:contrast,severity=5,table=imagenet",
]
RANDOM = [
    "gaussian:0.3",
    "gaussian-varying:0.3",
    "gaussian-varying:0.3,levels=half-normal",
    "uniform:0.3",
    "laplace:0.3",
    "speckle:0.4",
    "shot:12",
    "salt-and-pepper:0.3",
    "impulse:0.3",
    "occlusion:n=2,size=0.4",
    "occlusion:n=3,size=3,fill=0.5",
    "stripes:n=2,width=0.2,fill=1",
    "stripes:n=1,width=2",
    "motion-blur:3,std=1.5",
    "fog:0.7,decay=2",
    "missing:0.3",
    "missing:0.3,fill=0.5",
    "spikes:0.3,size=0.5",
    "offset:0.3",
    "gain:0.5",
    "corruption:impulse-noise,severity=5",
    "corruption:fog,severity=2,table=imagenet",
]
SPECS = [*FIXED, *RANDOM]
NOT_OF_IMAGES = {"clipping", "gap", "stuck", "drift", "hum", "time-shift"}  # in test_sensors.py
ON_VECTORS = {
    "clean", "gaussian", "gaussian-varying", "uniform", "laplace", "speckle", "missing", "spikes", "offset", "gain",
    "quantization",
}  # fmt: skip

each_spec = pytest.mark.parametrize("spec", SPECS)
each_fixed = pytest.mark.parametrize("spec", FIXED)
each_random = pytest.mark.parametrize("spec", RANDOM)
each_device = pytest.mark.parametrize("device", DEVICES)


def name_of(spec: str) -> str:
    return spec.partition(":")[0]


def pictures(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Images of whole 256ths, which every type and an 8-bit file can hold nearly."""
    return torch.randint(0, 256, shape).to(dtype) / 255


def test_every_registered_perturbation_is_among_the_examples() -> None:
    assert {name_of(spec) for spec in SPECS} | NOT_OF_IMAGES | {"dead-channels"} == set(PERTURBATIONS)


@each_spec
def test_a_perturbation_tells_whether_it_draws(spec: str) -> None:
    assert npf.perturbation(spec).random is (spec in RANDOM)


@pytest.mark.parametrize(
    ("spec", "drawn"),
    [("downup+jpeg:50", False), ("downup+occlusion", True), ("clean+contrast:2+fog:1,decay=2", True)],
)
def test_a_chain_draws_where_a_part_does(spec: str, drawn: bool) -> None:
    assert npf.perturbation(spec).random is drawn


# The batch


@each_device
@each_spec
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(3, 3, 12, 10), (2, 1, 5, 7)])
def test_shape_type_device_and_interval_are_kept_and_the_input_is_not_touched(
    spec: str, dtype: torch.dtype, shape: tuple[int, ...], device: str
) -> None:
    x = torch.rand(shape, device=device).to(dtype)
    before = x.clone()
    perturbed = npf.perturbation(spec)(x, 0)
    assert (perturbed.shape, perturbed.dtype, perturbed.device) == (x.shape, dtype, x.device)
    assert bool(perturbed.isfinite().all())
    assert 0 <= float(perturbed.min()) <= float(perturbed.max()) <= 1
    assert torch.equal(x, before)


@each_spec
@pytest.mark.parametrize("shape", [(2, 3, 5, 7), (2, 3, 7, 5), (1, 1, 2, 9), (3, 1, 4, 3), (2, 3, 33, 17)])
@pytest.mark.parametrize("level", [0.0, 1.0, None], ids=["black", "white", "any"])
def test_odd_sizes_and_extreme_images(spec: str, shape: tuple[int, ...], level: float | None) -> None:
    if "width=2" in spec or "size=3" in spec:
        shape = (*shape[:2], *(max(side, 3) for side in shape[2:]))
    x = torch.rand(shape) if level is None else torch.full(shape, level)
    perturbed = npf.perturbation(spec)(x, 1)
    assert perturbed.shape == x.shape
    assert bool(perturbed.isfinite().all())
    assert 0 <= float(perturbed.min()) <= float(perturbed.max()) <= 1


@each_spec
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("level", [0.0, 0.4])
def test_images_of_one_pixel(spec: str, channels: int, level: float) -> None:
    if "width=2" in spec or "size=3" in spec:
        pytest.skip("the patch is larger than the image")
    perturbed = npf.perturbation(spec)(torch.full((2, channels, 1, 1), level), 0)
    assert perturbed.shape == (2, channels, 1, 1)
    assert bool(perturbed.isfinite().all())
    assert 0 <= float(perturbed.min()) <= float(perturbed.max()) <= 1


@each_spec
def test_the_memory_layout_does_not_matter(spec: str) -> None:
    x, noise = pictures(4, 3, 12, 10), npf.perturbation(spec)
    expected = noise(x, 0)
    torch.testing.assert_close(noise(x.contiguous(memory_format=torch.channels_last), 0), expected)
    torch.testing.assert_close(noise(x.transpose(2, 3).contiguous().transpose(2, 3), 0), expected)
    wide = torch.zeros(8, 3, 24, 20)
    wide[::2, :, ::2, ::2] = x
    torch.testing.assert_close(noise(wide[::2, :, ::2, ::2], 0), expected)
    assert float(wide.sum()) == pytest.approx(float(x.sum()), rel=1e-6)


@each_spec
@pytest.mark.parametrize("expanded", [(0,), (1,), (0, 1, 2, 3)], ids=["images", "channels", "everything"])
def test_an_expanded_batch_is_as_its_copy(spec: str, expanded: tuple[int, ...]) -> None:
    shape = (4, 3, 12, 10)
    small = pictures(*(1 if dim in expanded else size for dim, size in enumerate(shape)))
    x, noise = small.expand(shape), npf.perturbation(spec)
    before = small.clone()
    torch.testing.assert_close(noise(x, 0), noise(x.clone(), 0))
    assert torch.equal(small, before)


@each_fixed
def test_an_image_does_not_depend_on_its_batch(spec: str) -> None:
    x, noise = pictures(4, 3, 12, 10), npf.perturbation(spec)
    together = noise(x)
    for i in range(len(x)):
        torch.testing.assert_close(noise(x[i : i + 1]), together[i : i + 1], rtol=0, atol=1e-6)


@each_fixed
@pytest.mark.parametrize("channels", [1, 3])
def test_single_and_double_precision_agree(spec: str, channels: int) -> None:
    x, noise = pictures(4, channels, 12, 11, dtype=torch.float64), npf.perturbation(spec)
    torch.testing.assert_close(noise(x.float()).double(), noise(x), rtol=0, atol=3e-6)


@each_fixed
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_processor_and_accelerator_agree(spec: str) -> None:
    x, noise = pictures(4, 3, 12, 11), npf.perturbation(spec)
    torch.testing.assert_close(noise(x.cuda()).cpu(), noise(x), rtol=0, atol=1e-5)


@each_spec
def test_a_batch_of_one(spec: str) -> None:
    x = pictures(1, 3, 12, 10)
    perturbed = npf.perturbation(spec)(x, 0)
    assert perturbed.shape == x.shape
    assert torch.equal(perturbed, x) == (spec == "clean")


@each_spec
def test_an_empty_batch(spec: str) -> None:
    assert npf.perturbation(spec)(torch.rand(0, 3, 12, 10), 0).shape == (0, 3, 12, 10)


@pytest.mark.parametrize(
    "spec",
    [
        "clean", "gaussian:0", "gaussian-varying:0", "uniform:0", "laplace:0", "speckle:0", "missing:0",
        "spikes:0,size=1", "spikes:1,size=0", "offset:0", "gain:0", "quantization:1/255",
        "salt-and-pepper:0", "impulse:0", "downup:1",
        "pixelate:1", "gaussian-blur:0.1", "brightness:0", "contrast:1", "fog:0,decay=2",
    ],
)  # fmt: skip
def test_what_changes_nothing_leaves_its_input_alone(spec: str) -> None:
    x = pictures(3, 3, 9, 8)
    before = x.clone()
    for chained in (spec, f"{spec}+salt-and-pepper:1", f"{spec}+occlusion:n=1,size=8", f"{spec}+stripes:n=1,width=8"):
        perturbed = npf.perturbation(chained)(x, 0)
        assert torch.equal(x, before)
        if chained == spec:
            torch.testing.assert_close(perturbed, x, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    "spec",
    [
        "gaussian:1",
        "uniform:1",
        "laplace:1",
        "speckle:1",
        "shot:1",
        "contrast:5",
        "corruption:shot-noise,severity=5,table=imagenet",
    ],
)
def test_clamping_is_all_that_clamping_changes(spec: str) -> None:
    x = torch.rand(4, 3, 8, 8)
    unclamped = npf.perturbation(f"{spec},clamp=no")(x, seeding.generator(0, "g"))
    assert float(unclamped.max()) > 1
    assert torch.equal(npf.perturbation(spec)(x, seeding.generator(0, "g")), unclamped.clamp(0, 1))


# Randomness


@each_device
@each_random
def test_the_same_seed_gives_the_same_and_another_seed_another(spec: str, device: str) -> None:
    noise, x = npf.perturbation(spec), torch.rand(3, 3, 16, 16, device=device)
    assert torch.equal(noise(x, 3), noise(x, 3))
    assert torch.equal(noise(x, 3), npf.perturbation(noise.spec)(x, seeding.generator(3, noise.spec, device=device)))
    assert not torch.equal(noise(x, 3), noise(x, 4))


@each_device
@each_random
def test_each_image_of_a_batch_is_perturbed_in_its_own_way(spec: str, device: str) -> None:
    x = torch.rand(1, 3, 16, 16, device=device).expand(6, -1, -1, -1)
    perturbed = npf.perturbation(spec)(x, 0)
    different = sum(not torch.equal(perturbed[i], perturbed[j]) for i in range(6) for j in range(i))
    assert different >= 13  # of 15 pairs; a few narrow stripes may fall on the same place


@each_device
@each_random
def test_a_generator_is_drawn_from_and_moved(spec: str, device: str) -> None:
    noise, x = npf.perturbation(spec), torch.rand(3, 3, 16, 16, device=device)
    g = torch.Generator(device).manual_seed(5)
    first, second = noise(x, generator=g), noise(x, generator=g)
    assert not torch.equal(first, second)
    assert torch.equal(noise(x, torch.Generator(device).manual_seed(5)), first)


@each_fixed
def test_what_does_not_draw_is_the_same_for_any_generator(spec: str) -> None:
    noise, x = npf.perturbation(spec), pictures(3, 3, 16, 16)
    g = torch.Generator().manual_seed(5)
    state = g.get_state()
    expected = noise(x)
    assert all(torch.equal(noise(x, generator), expected) for generator in (0, 1, g))
    assert torch.equal(g.get_state(), state)


@each_spec
@pytest.mark.parametrize("kind", ["seed", "generator"])
def test_global_states_neither_matter_nor_move(spec: str, kind: str) -> None:
    noise, x = npf.perturbation(spec), torch.rand(3, 3, 16, 16)

    def generator() -> torch.Generator | int:
        return 7 if kind == "seed" else torch.Generator().manual_seed(7)

    states = torch.random.get_rng_state(), repr(np.random.get_state(legacy=False)), random.getstate()
    first = noise(x, generator())
    assert torch.equal(torch.random.get_rng_state(), states[0])
    assert repr(np.random.get_state(legacy=False)) == states[1]
    assert random.getstate() == states[2]
    torch.rand(10)
    np.random.default_rng(3).random(3)
    assert torch.equal(noise(x, generator()), first)


@each_random
def test_without_a_seed_the_global_generator_is_drawn_from(spec: str) -> None:
    noise, x = npf.perturbation(spec), torch.rand(3, 3, 16, 16)
    torch.manual_seed(1)
    first, second = noise(x), noise(x)
    torch.manual_seed(1)
    assert torch.equal(noise(x), first)
    assert not torch.equal(first, second)


# Text


@each_spec
@pytest.mark.parametrize("clamp", ["", "clamp=no"])
def test_the_canonical_text_makes_an_equal_perturbation(spec: str, clamp: str) -> None:
    noise = npf.perturbation(spec + (":" if ":" not in spec else ",") * bool(clamp) + clamp)
    again = npf.perturbation(noise.spec)
    assert again == noise
    assert type(again) is type(noise)
    assert again.spec == noise.spec == str(noise)
    assert hash(again) == hash(noise)
    assert noise.clamp is not bool(clamp)


@pytest.mark.parametrize(
    ("short", "long"),
    [
        ("laplace:0.1", "laplace:std=0.1"),
        ("speckle:0.1", "speckle:std=0.1"),
        ("shot:60", "shot:photons=60"),
        ("salt-and-pepper:0.1", "salt-and-pepper:amount=1/10"),
        ("impulse:0.1", "impulse:amount=1/10"),
        ("occlusion", "occlusion:n=20,size=70,fill=0"),
        ("occlusion:3", "occlusion:n=3"),
        ("occlusion:n=3,size=1/5", "occlusion:n=3,size=0.2"),
        ("stripes", "stripes:n=10,width=6,fill=0"),
        ("stripes:3", "stripes:n=3"),
        ("downup", "downup:factor=1/3"),
        ("downup:1/3", "downup"),
        ("pixelate:0.5", "pixelate:factor=0.5"),
        ("gaussian-blur:2", "gaussian-blur:std=2"),
        ("motion-blur:10,std=3", "motion-blur:radius=10,std=3,max_angle=45"),
        ("brightness:-0.1", "brightness:shift=-0.1"),
        ("contrast:0.4", "contrast:factor=0.4"),
        ("fog:1.5,decay=2", "fog:thickness=1.5,decay=2"),
        ("jpeg:25", "jpeg:quality=25"),
        ("corruption:fog,severity=2", "corruption:kind=fog,severity=2,table=cifar"),
        ("missing:0.1", "missing:amount=1/10,fill=0"),
        ("dead-channels", "dead-channels:n=1,fill=0"),
        ("dead-channels:2", "dead-channels:n=2"),
        ("spikes:0.1,size=3", "spikes:amount=0.1,size=3"),
        ("offset:0.1", "offset:std=0.1"),
        ("gain:0.1", "gain:std=0.1"),
        ("clipping:2", "clipping:limit=2"),
        ("quantization:1/255", "quantization:step=1/255"),
        ("gap:1/4", "gap:length=0.25,n=1,fill=0"),
        ("stuck", "stuck:n=1"),
        ("drift:0.5", "drift:std=0.5"),
        ("hum:0.5,period=8", "hum:amplitude=0.5,period=8"),
        ("time-shift:3", "time-shift:steps=3"),
    ],
)
def test_the_first_key_may_be_left_out_and_so_may_what_has_a_default(short: str, long: str) -> None:
    assert npf.perturbation(short) == npf.perturbation(long)
    assert npf.perturbation(short).spec == npf.perturbation(long).spec


# What is refused


@pytest.mark.parametrize("shape", [(4, 6), (4, 2, 9), (4, 3, 8, 8)])
def test_a_perturbation_that_works_in_place_is_told_and_not_believed(shape: tuple[int, ...]) -> None:
    class InPlace(Perturbation):
        name = "in-place"

        def apply(self, x: Tensor, generator: torch.Generator | None) -> Tensor:
            x[:, 0] = 0
            return x

    with pytest.raises(InvalidArgumentError, match=r"^in-place changes its input in place.*x = x\.clone\(\)"):
        InPlace()(torch.rand(shape), 0)
    with torch.inference_mode():
        assert npf.perturbation("gaussian:0.1")(torch.rand(shape), 0).shape == shape


@each_spec
@pytest.mark.parametrize("shape", [(4, 7), (4, 2, 9)], ids=["vectors", "series"])
def test_vectors_and_series_are_taken_by_what_is_not_of_pictures(spec: str, shape: tuple[int, ...]) -> None:
    noise, x = npf.perturbation(spec), 10 * torch.rand(shape) - 5
    if name_of(spec) in ON_VECTORS:
        perturbed = noise(x, 0)
        assert (perturbed.shape, perturbed.dtype) == (x.shape, x.dtype)
        assert float(perturbed.min()) < 0
        return
    with pytest.raises(InvalidArgumentError) as caught:
        noise(x, 0)
    assert name_of(spec) in str(caught.value)
    assert "(N, C, H, W)" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["gaussian-noise", "speckle-noise", "shot-noise", "gaussian-blur", "jpeg"])
@pytest.mark.parametrize("shape", [(4, 7), (4, 2, 9)], ids=["vectors", "series"])
def test_no_corruption_takes_vectors_or_series(kind: str, shape: tuple[int, ...]) -> None:
    with pytest.raises(InvalidArgumentError, match=r"corruption.*\(N, C, H, W\)"):
        npf.perturbation(f"corruption:{kind},severity=1")(torch.rand(shape), 0)


def test_in_a_chain_the_part_that_cannot_take_a_batch_is_named() -> None:
    with pytest.raises(InvalidArgumentError, match=r"occlusion.*\(N, C, H, W\)"):
        npf.perturbation("gaussian:0.1+occlusion:n=1,size=2")(torch.rand(4, 7), 0)


@each_spec
@pytest.mark.parametrize("value", [1.1, -0.1, float("nan")])
def test_images_outside_the_unit_interval_are_refused(spec: str, value: float) -> None:
    with pytest.raises(InvalidArgumentError, match=r"images must have values in \[0, 1\]"):
        npf.perturbation(spec)(torch.full((1, 3, 8, 8), value), 0)


@pytest.mark.parametrize(
    ("name", "key", "given", "others"),
    [
        ("laplace", "std", [-0.1], {}),
        ("speckle", "std", [-0.1], {}),
        ("shot", "photons", [0, -1], {}),
        ("salt-and-pepper", "amount", [-0.1, 1.1], {}),
        ("impulse", "amount", [-0.1, 1.1], {}),
        ("missing", "amount", [-0.1, 1.1], {}),
        ("spikes", "amount", [-0.1, 1.1], {"size": 1}),
        ("spikes", "size", [-0.1], {"amount": 0.1}),
        ("dead-channels", "n", [0, -1, 1.5], {}),
        ("offset", "std", [-0.1], {}),
        ("gain", "std", [-0.1], {}),
        ("clipping", "limit", [0, -1], {}),
        ("quantization", "step", [0, -1, 1e-7], {}),
        ("gap", "length", [0, -1, -0.5, 1.5], {}),
        ("gap", "n", [0, -1, 1.5], {"length": 3}),
        ("stuck", "n", [0, -1, 1.5], {}),
        ("drift", "std", [-0.1], {}),
        ("hum", "amplitude", [-0.1], {"period": 4}),
        ("hum", "period", [0, -4, 1.9], {"amplitude": 1}),
        ("time-shift", "steps", [-1, 1.5], {}),
        ("occlusion", "n", [0, -1, 1.5], {}),
        ("occlusion", "size", [0, -1, -0.5, 1.5, 70.5], {}),
        ("occlusion", "fill", [-0.1, 1.1], {}),
        ("stripes", "n", [0, -1, 1.5], {}),
        ("stripes", "width", [0, -1, -0.5, 1.5], {}),
        ("stripes", "fill", [-0.1, 1.1], {}),
        ("downup", "factor", [0, -0.5, 1.1], {}),
        ("pixelate", "factor", [0, -0.5, 1.1], {}),
        ("gaussian-blur", "std", [0, -1], {}),
        ("motion-blur", "radius", [-1, 1.5], {"std": 1}),
        ("motion-blur", "std", [0, -1], {"radius": 3}),
        ("brightness", "shift", [-1.1, 1.1], {}),
        ("contrast", "factor", [-0.1], {}),
        ("fog", "thickness", [-0.1], {"decay": 2}),
        ("fog", "decay", [0, -1], {"thickness": 1}),
        ("jpeg", "quality", [0, -1, 101, 50.5], {}),
        ("corruption", "severity", [0, -1, 6, 2.5], {"kind": "fog"}),
    ],
)
def test_a_value_out_of_its_range_is_refused(
    name: str, key: str, given: list[float], others: dict[str, float | str]
) -> None:
    rest = "".join(f",{other}={value}" for other, value in others.items())
    for value in given:
        with pytest.raises(InvalidArgumentError) as caught:
            npf.perturbation(f"{name}:{key}={value}{rest}")
        assert f"{key} of the perturbation '{name}'" in str(caught.value)
        assert "\n" not in str(caught.value)
    for wrong in (*given, float("nan"), float("inf"), "much"):
        with pytest.raises(InvalidArgumentError, match=f"{key} of the perturbation '{name}'"):
            PERTURBATIONS[name](**{key: wrong, **others})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "missing"),
    [
        ("laplace", "std"),
        ("shot", "photons"),
        ("spikes:0.1", "size"),
        ("hum:0.1", "period"),
        ("gap", "length"),
        ("motion-blur:3", "std"),
        ("fog:decay=2", "thickness"),
        ("jpeg", "quality"),
        ("corruption:fog", "severity"),
        ("corruption:severity=2", "kind"),
    ],
)
def test_a_key_without_a_default_is_asked_for(text: str, missing: str) -> None:
    with pytest.raises(InvalidArgumentError, match=f"needs {missing}"):
        npf.perturbation(text)
