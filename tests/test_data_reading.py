"""One path from bytes to pixels: right for every format, and the same wherever it runs."""

from __future__ import annotations

import io
import struct
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from app.data.reading import (
    MAX_PIXELS,
    decode_image,
    image_dimensions,
    orientation,
    read_image,
    resize_image,
    upright,
)

SIZE = 48
Refused = tf.errors.InvalidArgumentError


def picture(width: int = 61, height: int = 43) -> Image.Image:
    """Smooth colours without any symmetry, so that each of the eight turns shows."""
    noise = np.random.default_rng(7).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC)


def encode(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def exif(value: int, order: str = "<", kind: int = 3, count: int = 1) -> bytes:
    """A TIFF structure with three entries, the orientation in the middle."""
    mark = b"II" if order == "<" else b"MM"
    held = struct.pack(order + ("HH" if kind == 3 else "L"), *([value, 0][: 2 if kind == 3 else 1]))
    entries = [
        struct.pack(order + "HHLL", 0x0100, 4, 1, 8),
        struct.pack(order + "HHL", 0x0112, kind, count) + held,
        struct.pack(order + "HHLL", 0x0213, 3, 1, 1),
    ]
    head = mark + struct.pack(order + "HLH", 42, 8, len(entries))
    return head + b"".join(entries) + bytes(4)


def with_segment(jpeg: bytes, payload: bytes) -> bytes:
    """Puts an APP1 segment behind the first segment, as cameras that write JFIF do."""
    first = 4 + struct.unpack(">H", jpeg[4:6])[0]
    segment = b"\xff\xe1" + struct.pack(">H", len(payload) + 2) + payload
    return jpeg[:first] + segment + jpeg[first:]


def with_chunk(png: bytes, payload: bytes, at_end: bool = False) -> bytes:
    body = b"eXIf" + payload
    chunk = struct.pack(">L", len(payload)) + body + struct.pack(">L", zlib.crc32(body))
    place = len(png) - 12 if at_end else 33
    return png[:place] + chunk + png[place:]


def tagged(kind: str, value: int, order: str = "<") -> bytes:
    if kind == "jpeg":
        return with_segment(encode(picture(), "JPEG"), b"Exif\0\0" + exif(value, order))
    if kind == "png":
        return with_chunk(encode(picture(), "PNG"), exif(value, order))
    prefix = b"Exif\0\0" if kind == "webp-prefixed" else b""
    return encode(picture(), "WEBP", lossless=True, exif=prefix + exif(value, order))


def pillow(contents: bytes) -> np.ndarray:
    image = Image.open(io.BytesIO(contents))
    return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))


def decoded(contents: bytes) -> np.ndarray:
    return upright(decode_image(contents), orientation(contents)).numpy()


def furthest(first: np.ndarray, second: np.ndarray) -> int:
    assert first.shape == second.shape
    return int(np.abs(first.astype(int) - second.astype(int)).max())


def palette() -> Image.Image:
    return picture().quantize(17)


def sixteen_bits() -> Image.Image:
    return Image.fromarray(np.arange(61 * 43, dtype=np.uint16).reshape(43, 61) * 24)


def holes() -> Image.Image:
    image = picture().convert("RGBA")
    image.putalpha(picture().convert("L"))
    return image


def animation(kind: str) -> bytes:
    more = [picture().rotate(angle) for angle in (90, 180)]
    return encode(picture(), kind, save_all=True, append_images=more)


def cmyk(image: Image.Image) -> Image.Image:
    """Different amounts of all four inks."""
    inks = [255 - np.asarray(image)[..., i] // 2 for i in range(3)]
    return Image.merge("CMYK", [Image.fromarray(a) for a in [*inks, inks[0] // 3]])


# What equals Pillow exactly.
EXACT: dict[str, Callable[[], bytes]] = {
    "jpeg": lambda: encode(picture(), "JPEG"),
    "jpeg-progressive": lambda: encode(picture(), "JPEG", progressive=True),
    "jpeg-no-subsampling": lambda: encode(picture(), "JPEG", subsampling=0),
    "jpeg-grey": lambda: encode(picture().convert("L"), "JPEG"),
    "png": lambda: encode(picture(), "PNG"),
    "png-one-bit": lambda: encode(picture().convert("1"), "PNG"),
    "png-grey": lambda: encode(picture().convert("L"), "PNG"),
    "png-grey-alpha": lambda: encode(picture().convert("LA"), "PNG"),
    "png-alpha": lambda: encode(holes(), "PNG"),
    "png-palette": lambda: encode(palette(), "PNG"),
    "png-palette-transparent": lambda: encode(palette(), "PNG", transparency=3),
    "gif": lambda: encode(palette(), "GIF"),
    "gif-animated": lambda: animation("GIF"),
    "webp": lambda: encode(picture(), "WEBP"),
    "webp-lossless": lambda: encode(picture(), "WEBP", lossless=True),
    "webp-alpha": lambda: encode(holes(), "WEBP", lossless=True, exact=True),
    "webp-lossy-alpha": lambda: encode(holes(), "WEBP"),
    "webp-animated": lambda: animation("WEBP"),
    "bmp": lambda: encode(picture(), "BMP"),
    "bmp-32-bits": lambda: encode(holes(), "BMP"),
    "bmp-grey": lambda: encode(picture().convert("L"), "BMP"),
    "bmp-palette": lambda: encode(palette(), "BMP"),
    "bmp-and-a-byte": lambda: encode(picture(), "BMP") + b"\0",
    "jpeg-turned": lambda: tagged("jpeg", 6),
    "png-turned": lambda: tagged("png", 7),
    "webp-turned": lambda: tagged("webp", 8),
}
OTHERS: dict[str, Callable[[], bytes]] = {
    "jpeg-cmyk": lambda: encode(cmyk(picture()), "JPEG"),
    "png-16-bits": lambda: encode(sixteen_bits(), "PNG"),
    "gif-transparent": lambda: encode(palette(), "GIF", transparency=3),
}


@pytest.mark.parametrize("name", EXACT)
def test_decoded_pixels_equal_those_of_pillow(name: str) -> None:
    contents = EXACT[name]()
    np.testing.assert_array_equal(decoded(contents), pillow(contents))


@pytest.mark.parametrize("name", EXACT)
def test_resized_pixels_are_within_one_level_of_pillow(name: str) -> None:
    contents = EXACT[name]()
    expected = Image.fromarray(pillow(contents)).resize((SIZE, SIZE), Image.Resampling.BILINEAR)
    assert furthest(read_image(contents, SIZE).numpy(), np.asarray(expected)) <= 1


@pytest.mark.parametrize("name", [*EXACT, *OTHERS])
def test_dimensions_in_the_header_are_those_of_the_decoded_image(name: str) -> None:
    contents = {**EXACT, **OTHERS}[name]()
    assert image_dimensions(contents).numpy().tolist() == [43, 61]
    assert decode_image(contents).shape == [43, 61, 3]


def test_cmyk_jpeg_is_within_two_levels_of_pillow() -> None:
    contents = OTHERS["jpeg-cmyk"]()
    assert furthest(decoded(contents), pillow(contents)) <= 2


def test_16_bit_png_keeps_its_upper_8_bits() -> None:
    # Pillow is no reference here: it cuts 16-bit grey values off at 255.
    grey = (np.asarray(sixteen_bits()) >> 8).astype(np.uint8)
    image = decoded(OTHERS["png-16-bits"]())
    np.testing.assert_array_equal(image, np.stack([grey] * 3, -1))


def test_transparent_pixels_of_a_gif_are_black() -> None:
    contents = OTHERS["gif-transparent"]()
    hidden = np.asarray(palette()) == 3
    image = decoded(contents)
    assert hidden.any()
    assert not image[hidden].any()
    np.testing.assert_array_equal(image[~hidden], pillow(contents)[~hidden])


@pytest.mark.parametrize("order", ["<", ">"], ids=["little", "big"])
@pytest.mark.parametrize("kind", ["jpeg", "png", "webp", "webp-prefixed"])
@pytest.mark.parametrize("value", range(1, 9))
def test_exif_orientation_reads_upright(kind: str, value: int, order: str) -> None:
    contents = tagged(kind, value, order)
    assert orientation(contents).numpy() == value
    np.testing.assert_array_equal(decoded(contents), pillow(contents))


@pytest.mark.parametrize("value", range(1, 9))
def test_turned_photograph_reads_exactly_as_the_one_stored_upright(value: int) -> None:
    turned = tagged("png", value)
    stored = encode(Image.fromarray(pillow(turned)), "PNG")
    np.testing.assert_array_equal(read_image(turned, SIZE), read_image(stored, SIZE))


def test_exif_behind_the_pixels_of_a_png_counts() -> None:
    contents = with_chunk(encode(picture(), "PNG"), exif(6), at_end=True)
    np.testing.assert_array_equal(decoded(contents), pillow(contents))


def test_orientation_of_32_bits_counts_as_in_pillow() -> None:
    for order in "<>":
        contents = with_chunk(encode(picture(), "PNG"), exif(8, order, kind=4))
        assert orientation(contents).numpy() == 8
        np.testing.assert_array_equal(decoded(contents), pillow(contents))


def test_exif_that_pillow_writes_is_understood() -> None:
    tags = Image.Exif()
    tags[0x0112], tags[0x010E] = 5, "a description"
    for kind in ("JPEG", "PNG", "WEBP"):
        assert orientation(encode(picture(), kind, exif=tags)).numpy() == 5


def test_only_an_app1_segment_before_the_scan_counts_as_exif() -> None:
    jpeg, payload = encode(picture(), "JPEG"), b"Exif\0\0" + exif(6)
    assert orientation(with_segment(jpeg, payload)).numpy() == 6
    assert orientation(with_segment(jpeg, b"http\0" + payload)).numpy() == 1
    assert orientation(jpeg + payload).numpy() == 1
    comment = b"\xff\xfe" + struct.pack(">H", len(payload) + 2) + payload
    assert orientation(jpeg[:2] + comment + jpeg[2:]).numpy() == 1
    filled = b"\xff\xd8" + b"\xff" * 5 + with_segment(jpeg, payload)[2:]
    assert orientation(filled).numpy() == 6


NONSENSE = {
    "empty": b"",
    "cut": exif(6)[:-20],
    "cut in the header": exif(6)[:5],
    "value 0": exif(0),
    "value 9": exif(9),
    "two values": exif(6, count=2),
    "wrong type": exif(6, kind=3).replace(b"\x12\x01\x03", b"\x12\x01\x02"),
    "no byte order": b"XX" + exif(6)[2:],
    "directory far outside": b"II*\0\xff\xff\xff\xff" + exif(6)[8:],
    "directory in 2 GB": b"II*\0\xff\xff\xff\x7f" + exif(6)[8:],
    "directory at the end": b"II*\0" + struct.pack("<L", len(exif(6))) + exif(6)[8:],
    "no entries": b"II*\0\x08\0\0\0\0\0",
    "zeros": bytes(40),
}


@pytest.mark.parametrize("name", NONSENSE)
def test_nonsense_in_exif_means_as_stored(name: str) -> None:
    payload = NONSENSE[name]
    for contents in (
        with_segment(encode(picture(), "JPEG"), b"Exif\0\0" + payload),
        with_chunk(encode(picture(), "PNG"), payload),
        encode(picture(), "WEBP", exif=payload or b"\0"),
    ):
        assert orientation(contents).numpy() == 1
        assert decoded(contents).shape == (43, 61, 3)


def test_huge_count_of_entries_reads_those_that_are_there() -> None:
    payload = exif(6).replace(b"\x08\0\0\0\x03\0", b"\x08\0\0\0\xff\xff")
    assert orientation(with_chunk(encode(picture(), "PNG"), payload)).numpy() == 6


HOSTILE = {
    "jpeg of empty segments": b"\xff\xd8\xff" + b"\xe0\0\2\xff" * 250_000 + b"Exif\0\0",
    "jpeg of zero lengths": b"\xff\xd8" + b"\xff\xe1\0\0Exif\0\0" * 10_000,
    "jpeg of fill bytes": b"\xff\xd8" + b"\xff" * 1_000_000 + b"Exif\0\0",
    "png of empty chunks": b"\x89PNG\r\n\x1a\n" + b"\0\0\0\0abcd\0\0\0\0" * 100_000,
    "png of a huge chunk": b"\x89PNG\r\n\x1a\n" + b"\xff\xff\xff\xffeXIf" * 100,
    "webp of empty chunks": b"RIFF\0\0\0\0WEBP" + b"abcd\0\0\0\0" * 100_000,
    "webp of huge chunks": b"RIFF\0\0\0\0WEBP" + b"EXIF\xff\xff\xff\xff" * 100,
    "gif of tiny blocks": b"GIF89a\x05\0\x05\0\0\0\0!\xfe" + b"\1a" * 1_000_000,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_file_is_refused_before_long(name: str) -> None:
    read = tf.function(lambda contents: read_image(contents, SIZE))
    with pytest.raises(Refused):
        read(tf.constant(b"warm up"))
    start = time.perf_counter()
    assert tf.function(orientation)(tf.constant(HOSTILE[name])).numpy() in range(1, 9)
    with pytest.raises(Refused):
        read(tf.constant(HOSTILE[name]))
    assert time.perf_counter() - start < 20


def bmp(change: Callable[[bytearray], object], image: Image.Image | None = None) -> bytes:
    contents = bytearray(encode(image or picture(), "BMP"))
    change(contents)
    return bytes(contents)


def gif_frame(canvas: tuple[int, int], place: tuple[int, int, int, int]) -> bytes:
    """Writes a descriptor that differs from what the canvas says."""
    contents = bytearray(encode(palette(), "GIF"))
    where = contents.index(b",\0\0\0\0" + struct.pack("<HH", 61, 43))
    contents[6:10] = struct.pack("<HH", *canvas)
    contents[where + 1 : where + 9] = struct.pack("<HHHH", *place)
    return bytes(contents)


def webp_frame_moved() -> bytes:
    contents = bytearray(animation("WEBP"))
    contents[contents.index(b"ANMF") + 8] = 2
    return bytes(contents)


REFUSED: dict[str, Callable[[], bytes]] = {
    "nothing": lambda: b"",
    "one byte": lambda: b"\xff",
    "text": lambda: b"not an image, but a sentence",
    "tiff": lambda: encode(picture(), "TIFF"),
    "noise": lambda: np.random.default_rng(3).bytes(5000),
    "jpeg, first bytes only": lambda: b"\xff\xd8\xff",
    "png, first bytes only": lambda: b"\x89PNG\r\n\x1a\n",
    "gif, first bytes only": lambda: b"GIF89a",
    "bmp, first bytes only": lambda: b"BM",
    "webp, first bytes only": lambda: b"RIFF\0\0\0\0WEBP",
    "jpeg, cut": lambda: EXACT["jpeg"]()[:-300],
    "png, cut": lambda: EXACT["png"]()[:-300],
    "gif, cut": lambda: EXACT["gif"]()[:-300],
    "bmp, cut": lambda: EXACT["bmp"]()[:-300],
    "webp, cut": lambda: EXACT["webp"]()[:-100],
    "bmp of one bit": lambda: encode(picture().convert("1"), "BMP"),
    "bmp of 16 bits": lambda: bmp(lambda b: b.__setitem__(slice(28, 30), b"\x10\0")),
    "bmp, run lengths": lambda: bmp(lambda b: b.__setitem__(30, 1), palette()),
    "bmp, unusual masks": lambda: bmp(lambda b: b.__setitem__(30, 3), holes()),
    "bmp, old header": lambda: bmp(lambda b: b.__setitem__(14, 12)),
    "bmp, no width": lambda: bmp(lambda b: b.__setitem__(slice(18, 22), bytes(4))),
    "gif, frame covers a part": lambda: gif_frame((80, 60), (4, 4, 61, 43)),
    "webp, frame covers a part": webp_frame_moved,
    "webp, no frame": lambda: animation("WEBP").replace(b"ANMF", b"ABCD"),
    "gif, frame larger than all": lambda: gif_frame((1, 1), (0, 0, 61, 43)),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_read_rightly_is_refused(name: str) -> None:
    with pytest.raises(Refused):
        read_image(REFUSED[name](), SIZE)


def test_refusal_says_what_can_be_read() -> None:
    with pytest.raises(Refused, match="JPEG, PNG, GIF, BMP, WebP"):
        read_image(REFUSED["text"](), SIZE)
    with pytest.raises(Refused, match="save it again as PNG"):
        read_image(REFUSED["bmp of 16 bits"](), SIZE)


def test_bmp_stored_from_the_top_is_upright() -> None:
    contents = bmp(lambda b: b.__setitem__(slice(22, 26), struct.pack("<i", -43)))
    np.testing.assert_array_equal(decoded(contents), pillow(contents))
    assert image_dimensions(contents).numpy().tolist() == [43, 61]


def test_later_frames_of_a_gif_do_not_change_the_first() -> None:
    contents = animation("GIF")
    cut = contents[: contents.index(b"!\xf9", 1200)] + b"!\xfe\x03abc\x00," + b"\xff" * 40
    np.testing.assert_array_equal(decode_image(cut), decode_image(contents))


def test_animated_webp_of_every_kind_gives_its_first_frame() -> None:
    for image in (picture(), holes()):
        for lossless in (False, True):
            more = [image.rotate(90)]
            options = {"save_all": True, "append_images": more, "lossless": lossless, "exact": True}
            contents = encode(image, "WEBP", **options)
            assert b"ANMF" in contents
            first = Image.open(io.BytesIO(contents)).convert("RGBA")
            shown = np.asarray(first)[..., 3] > 0
            np.testing.assert_array_equal(
                decode_image(contents).numpy()[shown], np.asarray(first)[shown][:, :3]
            )


def giant(kind: str) -> bytes:
    """A small file whose header promises 20000 x 20000 pixels."""
    side = 20_000
    if kind == "png":
        ihdr = b"IHDR" + struct.pack(">LLBBBBB", side, side, 1, 0, 0, 0, 0)
        data = b"IDAT" + zlib.compress(bytes((side // 8 + 1) * side))
        chunks = [ihdr, data, b"IEND"]
        pack = [
            struct.pack(">L", len(c) - 4) + c + struct.pack(">L", zlib.crc32(c)) for c in chunks
        ]
        return b"\x89PNG\r\n\x1a\n" + b"".join(pack)
    if kind == "jpeg":
        contents = EXACT["jpeg"]()
        frame = contents.index(b"\xff\xc0")
        return contents[: frame + 5] + struct.pack(">HH", side, side) + contents[frame + 9 :]
    if kind == "gif":
        return gif_frame((side, side), (0, 0, side, side))
    if kind == "bmp":
        return bmp(lambda b: b.__setitem__(slice(18, 26), struct.pack("<ii", side, -side)))
    extended = b"VP8X" + struct.pack("<LL", 10, 2) + (struct.pack("<L", side - 1)[:3] * 2)
    return b"RIFF" + struct.pack("<L", 22) + b"WEBP" + extended


@pytest.mark.parametrize("kind", ["png", "jpeg", "gif", "bmp", "webp"])
def test_bomb_is_refused_before_it_is_decoded(kind: str) -> None:
    contents = giant(kind)
    assert len(contents) < 100_000
    assert image_dimensions(contents).numpy().tolist() == [20_000, 20_000]
    start = time.perf_counter()
    with pytest.raises(Refused, match=str(MAX_PIXELS)):
        read_image(contents, SIZE)
    assert time.perf_counter() - start < 1


def test_turning_follows_the_eight_cases_of_exif() -> None:
    image = np.asarray(picture())
    cases = [
        image,
        image[:, ::-1],
        image[::-1, ::-1],
        image[::-1],
        image.transpose(1, 0, 2),
        np.rot90(image, -1),
        image[::-1, ::-1].transpose(1, 0, 2),
        np.rot90(image),
    ]
    for value, expected in enumerate(cases, 1):
        np.testing.assert_array_equal(upright(tf.constant(image), tf.constant(value)), expected)


def test_batch_is_resized_as_its_images_are() -> None:
    batch = np.random.default_rng(1).integers(0, 256, (3, 30, 50, 3), dtype=np.uint8)
    resized = resize_image(tf.constant(batch), 24)
    assert resized.dtype == tf.uint8
    for image, expected in zip(batch, resized, strict=True):
        np.testing.assert_array_equal(resize_image(tf.constant(image), 24), expected)


@pytest.mark.parametrize("size", [1, 31, 96])
def test_resizing_equals_that_of_the_kernel_in_one_go(size: int) -> None:
    """Which is three times as slow; levels of 0 and 255 alone make most sums that end in .5."""
    random = np.random.default_rng(size)
    for height, width in [(1, 1), (1, 90), (250, 2), (size, 60), *random.integers(2, 200, (12, 2))]:
        image = random.integers(0, 256, (height, width, 3), dtype=np.uint8)
        for pixels in (image, np.where(image > 127, 255, 0).astype(np.uint8), image * 0 + 255):
            whole = tf.image.resize(pixels, [size, size], method="bilinear", antialias=True)
            expected = np.rint(whole.numpy()).clip(0, 255)
            np.testing.assert_array_equal(resize_image(tf.constant(pixels), size), expected)


def test_shape_of_resized_images_is_known() -> None:
    for shape in ([None, None, 3], [None, None, None, 3]):
        resize = tf.function(lambda pixels: resize_image(pixels, 24))
        traced = resize.get_concrete_function(tf.TensorSpec(shape, tf.uint8))
        assert traced.output_shapes.as_list() == [*shape[:-3], 24, 24, 3]


def test_resizing_to_the_same_size_changes_nothing() -> None:
    image = np.random.default_rng(1).integers(0, 256, (24, 24, 3), dtype=np.uint8)
    np.testing.assert_array_equal(resize_image(tf.constant(image), 24), image)


def test_graph_knows_shape_and_type() -> None:
    names = tf.data.Dataset.from_tensor_slices([b""])
    assert names.map(lambda c: read_image(c, SIZE)).element_spec.shape == [SIZE, SIZE, 3]
    assert names.map(lambda c: read_image(c, SIZE)).element_spec.dtype == tf.uint8
    assert names.map(decode_image).element_spec.shape.as_list() == [None, None, 3]
    assert names.map(orientation).element_spec == tf.TensorSpec([], tf.int32)
    assert names.map(image_dimensions).element_spec == tf.TensorSpec([2], tf.int32)


class Reader(tf.Module):
    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    def __call__(self, contents: tf.Tensor) -> tf.Tensor:
        spec = tf.TensorSpec([SIZE, SIZE, 3], tf.uint8)
        return tf.map_fn(lambda c: read_image(c, SIZE), contents, fn_output_signature=spec)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Callable[[tf.Tensor], tf.Tensor]:
    folder: Path = tmp_path_factory.mktemp("reader") / "1"
    tf.saved_model.save(Reader(), str(folder))
    return tf.saved_model.load(str(folder))


@pytest.fixture(scope="module")
def in_pipeline() -> dict[str, np.ndarray]:
    files = {name: make() for name, make in {**EXACT, **OTHERS}.items()}
    data = tf.data.Dataset.from_tensor_slices(list(files.values()))
    images = data.map(lambda c: read_image(c, SIZE), num_parallel_calls=2)
    return dict(zip(files, images.as_numpy_iterator(), strict=True))


@pytest.mark.parametrize("name", [*EXACT, *OTHERS])
def test_training_and_the_saved_model_see_identical_pixels(
    name: str, saved: Callable[..., tf.Tensor], in_pipeline: dict[str, np.ndarray]
) -> None:
    contents = {**EXACT, **OTHERS}[name]()
    served = saved(tf.constant([contents, EXACT["png"]()]))[0]
    assert served.numpy().tobytes() == in_pipeline[name].tobytes()
    assert read_image(contents, SIZE).numpy().tobytes() == in_pipeline[name].tobytes()


def test_saved_model_refuses_what_is_no_image(saved: Callable[..., tf.Tensor]) -> None:
    with pytest.raises(Refused, match="known format"):
        saved(tf.constant([b"text"]))


SEEDS = {kind: tagged(kind, 6) for kind in ("jpeg", "png", "webp-prefixed")} | {
    "gif": EXACT["gif-animated"](),
    "bmp": EXACT["bmp-palette"](),
    "webp-animated": EXACT["webp-animated"](),
}


@tf.function(input_signature=[tf.TensorSpec([], tf.string)])
def read_in_graph(contents: tf.Tensor) -> tf.Tensor:
    return read_image(contents, SIZE)


@tf.function(input_signature=[tf.TensorSpec([], tf.string)])
def orientation_in_graph(contents: tf.Tensor) -> tf.Tensor:
    return orientation(contents)


@pytest.mark.parametrize("kind", SEEDS)
@given(data=st.data())
@settings(deadline=None, max_examples=100, derandomize=True, database=None)
def test_damaged_file_is_read_or_refused(kind: str, data: st.DataObject) -> None:
    contents = bytearray(SEEDS[kind])
    # Half of the damage falls on the first bytes, where lengths and offsets are.
    place = st.integers(0, 120) | st.integers(0, len(contents) - 1)
    value = st.sampled_from([0, 1, 0x7F, 0x80, 0xFF]) | st.integers(0, 255)
    for where, what in data.draw(st.lists(st.tuples(place, value), min_size=1, max_size=8)):
        contents[where] = what
    end = data.draw(st.just(len(contents)) | st.integers(0, len(contents)))
    damaged = tf.constant(bytes(contents[:end]))
    assert orientation_in_graph(damaged).numpy() in range(1, 9)
    try:
        image = read_in_graph(damaged)
    except Refused:
        return
    assert image.shape == [SIZE, SIZE, 3]
