"""Reads image files for the ONNX and LiteRT models of an export, with NumPy and Pillow alone.

It comes with the export. What it gives lies within one level of 255 of what the SavedModel reads,
which resizes with float32 and not with whole numbers; within two where a JPEG file is CMYK.
"""

import io

import numpy as np
from PIL import Image, ImageOps

FORMATS = ("JPEG", "PNG", "GIF", "BMP", "WEBP")


def read_image(contents: bytes, size: int) -> np.ndarray:
    """Decodes an image upright, and stretches it to a square.

    Args:
        contents: The bytes of a JPEG, PNG, GIF, BMP or WebP file.
        size: Of its sides, in pixels.

    Returns:
        uint8 `[size, size, 3]`, RGB.
    """
    image = ImageOps.exif_transpose(Image.open(io.BytesIO(contents), formats=FORMATS))
    if image.mode == "P" and "transparency" in image.info and contents[:3] == b"GIF":
        pixels = np.array(image.convert("RGBA"))
        image = Image.fromarray(pixels[..., :3] * (pixels[..., 3:] > 0))  # black, as there
    elif (image.mode == "P" and "transparency" in image.info) or image.mode in ("RGBA", "LA", "PA"):
        image = Image.fromarray(np.asarray(image.convert("RGBA"))[..., :3])
    elif image.mode in ("I", "I;16", "I;16B"):  # 16 bits are cut to their upper 8
        image = Image.fromarray((np.asarray(image).astype("uint32") >> 8).astype("uint8"))
    resized = image.convert("RGB").resize((size, size), Image.Resampling.BILINEAR)
    return np.asarray(resized)
