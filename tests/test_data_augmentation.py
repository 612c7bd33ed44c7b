"""Run seed, view and image decide how an image is varied; threads and processes do not."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from itertools import permutations
from random import Random
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageEnhance, ImageOps

from app.data.augmentation import A, Augmenter, operations, transforms
from app.recipe import Augmentation

SIZE = 24
VARYING = ("light", "medium", "strong", "rand_augment")


def pictures(count: int = 16, size: int = SIZE) -> NDArray[np.uint8]:
    return np.random.default_rng(5).integers(0, 256, (count, size, size, 3), dtype=np.uint8)


def one_by_one(
    augmenter: Augmenter, images: NDArray[np.uint8], order: Iterable[int], threads: int
) -> NDArray[np.uint8]:
    """Varies each image as a task of its own, and puts the results in the first order."""
    result = np.zeros_like(images)

    def vary(index: int) -> None:
        result[index] = augmenter(images[index : index + 1], 3, [index])[0]

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(vary, order))
    return result


@pytest.mark.parametrize("size", [8, 24, 65])
@pytest.mark.parametrize("preset", ["none", *VARYING])
def test_preset_keeps_shape_and_dtype(preset: str, size: int) -> None:
    images = pictures(40, size)
    varied = Augmenter(Augmentation(preset), size, 0)(images, 1, range(40))
    assert varied.shape == images.shape
    assert varied.dtype == np.uint8


def test_none_changes_no_pixel() -> None:
    assert transforms(Augmentation("none"), SIZE) == []
    for augmentation in (Augmentation("none"), Augmentation("none", flip="both")):
        varied = Augmenter(augmentation, SIZE, 0)(pictures(), 4, range(16))
        assert np.array_equal(varied, pictures())


@pytest.mark.parametrize("preset", VARYING)
def test_first_view_is_the_image_as_it_is(preset: str) -> None:
    augmenter = Augmenter(Augmentation(preset), SIZE, 7)
    assert np.array_equal(augmenter(pictures(), 0, range(16)), pictures())
    assert not np.array_equal(augmenter(pictures(), 1, range(16)), pictures())


@pytest.mark.parametrize("view", [0, 1])
@pytest.mark.parametrize("preset", ["none", "medium"])
def test_images_may_lie_apart(preset: str, view: int) -> None:
    augmenter = Augmenter(Augmentation(preset), SIZE, 7)
    expected = augmenter(pictures(), view, range(16))
    assert np.array_equal(augmenter(list(pictures()), view, range(16)), expected)


@pytest.mark.parametrize("preset", VARYING)
def test_preset_varies_nearly_every_image(preset: str) -> None:
    images = pictures(100)
    varied = Augmenter(Augmentation(preset), SIZE, 0)(images, 1, range(100))
    assert (varied != images).any(axis=(1, 2, 3)).sum() > 90


@pytest.mark.parametrize("preset", VARYING)
def test_input_stays_as_it_is(preset: str) -> None:
    images = pictures()
    Augmenter(Augmentation(preset), SIZE, 0)(images, 1, range(16))
    assert np.array_equal(images, pictures())


def test_read_only_input_will_do() -> None:
    images = pictures()
    images.flags.writeable = False
    assert Augmenter(Augmentation("strong"), SIZE, 0)(images, 1, range(16)).flags.writeable


@pytest.mark.parametrize("preset", VARYING)
def test_same_seed_view_and_key_give_the_same_pixels(preset: str) -> None:
    first = Augmenter(Augmentation(preset), SIZE, 7)(pictures(), 3, range(16))
    assert np.array_equal(Augmenter(Augmentation(preset), SIZE, 7)(pictures(), 3, range(16)), first)
    augmenter = Augmenter(Augmentation(preset), SIZE, 7)
    augmenter(pictures(), 1, range(16))
    assert np.array_equal(augmenter(pictures(), 3, range(16)), first)


@pytest.mark.parametrize("preset", VARYING)
def test_pixels_do_not_depend_on_threads_or_their_order(preset: str) -> None:
    images = np.tile(pictures(), (6, 1, 1, 1))
    expected = Augmenter(Augmentation(preset), SIZE, 7)(images, 3, range(96))
    orders = [range(96), range(95, -1, -1), np.random.default_rng(0).permutation(96).tolist()]
    shared = Augmenter(Augmentation(preset), SIZE, 7)
    for threads in (1, 8):
        for order in orders:
            assert np.array_equal(one_by_one(shared, images, order, threads), expected)


@pytest.mark.parametrize("batch_size", [1, 5, 16])
def test_pixels_do_not_depend_on_the_batch(batch_size: int) -> None:
    augmenter, images = Augmenter(Augmentation("strong"), SIZE, 7), pictures()
    parts = [
        augmenter(images[i : i + batch_size], 3, range(i, min(i + batch_size, 16)))
        for i in range(0, 16, batch_size)
    ]
    assert np.array_equal(np.concatenate(parts), augmenter(images, 3, range(16)))


def test_pixels_do_not_depend_on_the_process() -> None:
    program = (
        "import hashlib, numpy as np\n"
        "from app import Augmentation\n"
        "from app.data.augmentation import Augmenter\n"
        "images = np.random.default_rng(5).integers(0, 256, (16, 24, 24, 3), dtype=np.uint8)\n"
        "varied = Augmenter(Augmentation('strong'), 24, 7)(images, 3, range(16))\n"
        "print(hashlib.sha256(varied.tobytes()).hexdigest())\n"
    )
    call = [sys.executable, "-c", program]
    printed = subprocess.run(call, capture_output=True, text=True, check=True, timeout=120).stdout
    here = Augmenter(Augmentation("strong"), SIZE, 7)(pictures(), 3, range(16))
    assert printed.strip() == hashlib.sha256(here.tobytes()).hexdigest()


@pytest.mark.parametrize("preset", VARYING)
def test_view_key_and_seed_each_give_other_pixels(preset: str) -> None:
    images = np.repeat(pictures(1), 16, axis=0)
    varied = {
        "reference": Augmenter(Augmentation(preset), SIZE, 7)(images, 3, range(16)),
        "view": Augmenter(Augmentation(preset), SIZE, 7)(images, 4, range(16)),
        "keys": Augmenter(Augmentation(preset), SIZE, 7)(images, 3, range(16, 32)),
        "seed": Augmenter(Augmentation(preset), SIZE, 8)(images, 3, range(16)),
    }
    for one, other in permutations(varied.values(), 2):
        assert not np.array_equal(one, other)
    # The same picture under sixteen keys comes out in nearly as many ways: it is small.
    assert len({picture.tobytes() for picture in varied["reference"]}) >= 14


def test_numbers_of_view_and_image_are_not_mixed_up() -> None:
    images = np.repeat(pictures(1), 2, axis=0)
    one_two, two_one = (
        Augmenter(Augmentation("light"), SIZE, 0)(images, v, [k, 9]) for v, k in [(1, 2), (2, 1)]
    )
    assert not np.array_equal(one_two[0], two_one[0])


def test_numbers_may_be_of_numpy() -> None:
    keys = np.arange(16, dtype=np.int64)
    varied = Augmenter(Augmentation("medium"), SIZE, 7)(pictures(), np.int64(3), keys)
    assert np.array_equal(
        varied, Augmenter(Augmentation("medium"), SIZE, 7)(pictures(), 3, range(16))
    )


def test_as_many_keys_as_images_are_needed() -> None:
    with pytest.raises(ValueError, match="shorter"):
        Augmenter(Augmentation("light"), SIZE, 0)(pictures(), 1, range(15))


def test_stronger_presets_do_all_that_weaker_ones_do() -> None:
    kinds = [
        [type(each) for each in transforms(Augmentation(preset), SIZE)] for preset in VARYING[:3]
    ]
    assert kinds[1][: len(kinds[0])] == kinds[0]
    assert kinds[2][: len(kinds[1])] == kinds[1]
    assert len(kinds[0]) < len(kinds[1]) < len(kinds[2])


def mirrored(augmentation: Augmentation) -> NDArray[np.int64]:
    """How many of 400 images came out in each way, `[sideways, upside down]`."""
    rising = np.arange(SIZE, dtype=np.uint8)
    image = (rising[:, None] * 7 + rising[None, :] * 3)[:, :, None].repeat(3, axis=2)
    varied = Augmenter(augmentation, SIZE, 0)(np.stack([image] * 400), 1, range(400)).astype(int)
    sideways = varied[:, :, 0].sum(axis=(1, 2)) > varied[:, :, -1].sum(axis=(1, 2))
    upside_down = varied[:, 0].sum(axis=(1, 2)) > varied[:, -1].sum(axis=(1, 2))
    found = np.zeros((2, 2), np.int64)
    np.add.at(found, (sideways.astype(int), upside_down.astype(int)), 1)
    return found


def test_flip_says_which_mirror_images_there_are() -> None:
    assert mirrored(Augmentation("light", flip="none"))[0, 0] == 400
    sideways = mirrored(Augmentation("light", flip="horizontal"))
    assert not sideways[:, 1].any()
    # Half of 400 is 200, and a quarter 100, give or take four standard errors.
    assert abs(sideways[0, 0] - 200) <= 40
    assert np.abs(mirrored(Augmentation("light", flip="both")) - 100).max() <= 35


@pytest.mark.parametrize("preset", VARYING)
def test_every_preset_but_none_takes_the_flips(preset: str) -> None:
    wanted = {"none": [], "horizontal": ["HorizontalFlip"]}
    wanted["both"] = ["HorizontalFlip", "VerticalFlip"]
    for flip, names in wanted.items():
        kinds = [type(t).__name__ for t in transforms(Augmentation(preset, flip=flip), SIZE)]
        assert [name for name in kinds if "Flip" in name] == names


def test_whether_an_image_is_mirrored_does_not_follow_from_how_it_is_cropped() -> None:
    """Seeded alike, all transforms would draw the same numbers: see `Augmenter`."""
    rising = np.arange(SIZE, dtype=np.uint8)[:, None] * 9
    images = np.broadcast_to(rising, (400, SIZE, SIZE, 3)).copy()
    varied = Augmenter(Augmentation("light"), SIZE, 0)(images, 1, range(400)).astype(float)
    rise = varied[:, SIZE // 2, -2, 0] - varied[:, SIZE // 2, 1, 0]
    assert 0.3 < (rise < 0).mean() < 0.7
    # A correlation of 400 pairs is known to 0.05; with seeds alike it is -0.44.
    assert abs(np.corrcoef(rise < 0, np.abs(rise))[0, 1]) < 0.2


def photograph() -> NDArray[np.uint8]:
    """Smooth colours and some noise, no level of 255, which AutoContrast overlooks."""
    random = np.random.default_rng(0)
    smooth = Image.fromarray(random.integers(0, 256, (7, 7, 3), dtype=np.uint8)).resize((64, 64))
    return (np.asarray(smooth) * 0.7 + 30 + random.normal(0, 5, (64, 64, 3))).astype(np.uint8)


def applied(operation: Any, image: NDArray[np.uint8]) -> NDArray[np.int64]:
    return operation(image=image, force_apply=True)["image"].astype(np.int64)


@pytest.mark.parametrize("magnitude", [3.0, 10.0])
def test_operations_on_levels_are_those_of_pillow(magnitude: float) -> None:
    share, image, drawn = magnitude / 10, photograph(), operations(magnitude)
    source = Image.fromarray(image)
    pairs = [
        (drawn[0], source),
        (drawn[1], ImageOps.autocontrast(source)),
        (drawn[2], ImageOps.equalize(source)),
        (drawn[3], ImageOps.solarize(source, int(np.ceil(255 * (1 - share))))),
        (drawn[4], ImageOps.posterize(source, 8 - round(4 * share))),
    ]
    enhancers = (ImageEnhance.Color, ImageEnhance.Contrast, ImageEnhance.Brightness)
    for operation, enhancer in zip(drawn[5:9], (*enhancers, ImageEnhance.Sharpness), strict=True):
        for direction, sign in zip(operation.transforms, (-1, 1), strict=True):
            pairs.append((direction, enhancer(source).enhance(1 + sign * 0.9 * share)))
    for operation, wanted in pairs:
        inside = (slice(2, -2), slice(2, -2))  # Pillow leaves the border of sharpened images
        difference = np.abs(applied(operation, image) - np.asarray(wanted, np.int64))[inside]
        assert difference.max() <= 5, operation
        assert difference.mean() <= 1.3, operation


@pytest.mark.parametrize("magnitude", [3.0, 10.0])
def test_operations_move_images_by_their_magnitude(magnitude: float) -> None:
    """Where the levels rise by 4 a pixel to the right, moving shows in slopes and offsets."""
    share, drawn = magnitude / 10, operations(magnitude)
    rising = np.broadcast_to(np.arange(64, dtype=np.uint8)[:, None] * 4, (64, 64, 3)).copy()
    upwards = np.ascontiguousarray(rising.transpose(1, 0, 2))

    def slopes(operation: Any, image: NDArray[np.uint8]) -> tuple[float, float]:
        moved = applied(operation, image)[..., 0]
        return (moved[32, 40] - moved[32, 24]) / 64, (moved[40, 32] - moved[24, 32]) / 64

    angle = np.radians(30 * share)
    for direction, sign in zip(drawn[9].transforms, (-1, 1), strict=True):
        wanted = (np.cos(angle), -sign * np.sin(angle))
        assert np.abs(np.array(slopes(direction, rising)) - wanted).max() < 0.05
    for operation, across, along in ((drawn[10], rising, upwards), (drawn[11], upwards, rising)):
        found = [slopes(direction, across) for direction in operation.transforms]
        tilted = sorted(pair[0 if across is upwards else 1] for pair in found)
        assert tilted == pytest.approx([-0.3 * share, 0.3 * share], abs=0.05)
        assert all(np.abs(applied(t, along) - along).max() <= 2 for t in operation.transforms)
    for operation, across in ((drawn[12], rising), (drawn[13], upwards)):
        found = [applied(t, across)[32, 32, 0] - 128 for t in operation.transforms]
        assert sorted(found) == pytest.approx(
            [-4 * 64 * 0.45 * share, 4 * 64 * 0.45 * share], abs=4
        )


@pytest.mark.parametrize("magnitude", [0.01, 1e-17])
def test_operations_of_little_magnitude_leave_nearly_all_as_it_is(magnitude: float) -> None:
    image, drawn = photograph(), operations(magnitude)
    for number, operation in enumerate(drawn):
        if number not in (1, 2):  # autocontrast and equalize have no magnitude
            for direction in getattr(operation, "transforms", [operation]):
                assert np.abs(applied(direction, image) - image).max() <= 3, direction


def test_no_magnitude_leaves_what_light_does() -> None:
    still = Augmenter(Augmentation("rand_augment", magnitude=0.0), SIZE, 7)
    light = Augmenter(Augmentation("light"), SIZE, 7)
    assert np.array_equal(still(pictures(), 3, range(16)), light(pictures(), 3, range(16)))


def test_operations_are_drawn_with_equal_chance_in_any_order_and_more_than_once() -> None:
    image = photograph()[::2, ::2].copy()
    chosen = transforms(Augmentation("rand_augment", operations=1, flip="none"), 32)[1:]
    pipeline, found = A.Compose(chosen), Counter()
    for seed in range(1000):
        pipeline.set_random_state(np.random.default_rng(seed), Random(seed))
        found[pipeline(image=image)["image"].tobytes()] += 1
    # Five operations have one way, nine have two; four standard errors.
    assert len(found) == 5 + 9 * 2
    assert found[image.tobytes()] == pytest.approx(1000 / 14, abs=33)
    assert max(found.values()) <= 1000 / 14 + 40
    (several,) = transforms(Augmentation("rand_augment", operations=3, flip="none"), 32)[1:]
    orders = set()
    for seed in range(200):
        several.set_random_state(np.random.default_rng(seed), Random(seed))
        orders.add(tuple(several._get_idx()))
    assert all(len(order) == 3 for order in orders)
    assert any(len(set(order)) < 3 for order in orders)
    assert any(list(order) != sorted(order) for order in orders)


def test_albumentations_is_not_let_onto_the_network() -> None:
    program = (
        "import socket\n"
        "def refuse(*args): raise SystemExit('went to the network')\n"
        "socket.create_connection = socket.socket.connect = socket.getaddrinfo = refuse\n"
        "import app.data.augmentation\n"
    )
    call = [sys.executable, "-c", program]
    subprocess.run(call, check=True, capture_output=True, timeout=120)
