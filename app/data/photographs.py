"""The photographs that scikit-image and scikit-learn ship, whose licences let them be used."""

from __future__ import annotations

import hashlib
import importlib.util
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from app.data.reading import decode_image
from app.errors import DataError

SOURCE = "scikit-image:photographs"
_MEND = "install the versions that are pinned: pip install -e '.[pretraining]' -c constraints.txt"


@dataclass(frozen=True)
class Photograph:
    """A file of a package, of which it is known who made it.

    Attributes:
        path: Within the package, the package's name first.
        sha256: Of the file's bytes.
        licence: Under which it may be used.
        attribution: Who made it, as the package says.
    """

    path: str
    sha256: str
    licence: str
    attribution: str


# Of scikit-image 0.25.2 and scikit-learn 1.6 and later. Left out: faces, drawings, pages of text.
PHOTOGRAPHS = (
    Photograph(
        "skimage/data/coffee.png",
        "cc02f8ca188b167c775a7101b5d767d1e71792cf762c33d6fa15a4599b5a8de7",
        "CC0",
        "Rachel Michetti",
    ),
    Photograph(
        "skimage/data/chelsea.png",
        "596aa1e7cb875eb79f437e310381d26b338a81c2da23439704a73c4651e8c4bb",
        "CC0",
        "Stefan van der Walt",
    ),
    Photograph(
        "skimage/data/rocket.jpg",
        "c2dd0de7c538df8d111e479619b129464d0269d0ae5fd18ca91d33a7fdfea95c",
        "public domain",
        "SpaceX",
    ),
    Photograph(
        "skimage/data/brick.png",
        "7966caf324f6ba843118d98f7a07746d22f6a343430add0233eca5f6eaaa8fcf",
        "CC0",
        "CC0Textures",
    ),
    Photograph(
        "skimage/data/grass.png",
        "b6b6022426b38936c43a4ac09635cd78af074e90f42ffa8227ac8b7452d39f89",
        "CC0",
        "linolafett",
    ),
    Photograph(
        "skimage/data/gravel.png",
        "c48615b451bf1e606fbd72c0aa9f8cc0f068ab7111ef7d93bb9b0f2586440c12",
        "CC0",
        "CC0Textures",
    ),
    Photograph(
        "skimage/data/hubble_deep_field.jpg",
        "3a19c5dd8a927a9334bb1229a6d63711b1c0c767fb27e2286e7c84a3e2c2f5f4",
        "public domain",
        "NASA",
    ),
    Photograph(
        "skimage/data/retina.jpg",
        "38a07f36f27f095e818aea7b96d34202c05176d30253c66733f2e00379e9e0e6",
        "CC0",
        "Mikael Häggström",
    ),
    Photograph(
        "skimage/data/ihc.png",
        "f8dd1aa387ddd1f49d8ad13b50921b237df8e9b262606d258770687b0ef93cef",
        "no known restrictions",
        "Center for Microscopy and Molecular Imaging",
    ),
    Photograph(
        "sklearn/datasets/images/china.jpg",
        "8378025ad2519d649d02e32bd98990db4ab572357d9f09841c2fbfbb4fefad29",
        "CC BY 2.0",
        "danielbuechele, flickr.com",
    ),
    Photograph(
        "sklearn/datasets/images/flower.jpg",
        "a77f6ec41e353afdf8bdff2ea981b2955535d8d83294f8cfa49cf4e423dd5638",
        "CC BY 2.0",
        "vultilion, flickr.com",
    ),
)


def photographs() -> list[NDArray[np.uint8]]:
    """Reads them all.

    Returns:
        uint8 `[height, width, 3]` each, RGB.

    Raises:
        DataError: If a package is missing, or a file is not the one that is known.
    """
    return [_read(each) for each in PHOTOGRAPHS]


def _read(photograph: Photograph) -> NDArray[np.uint8]:
    package, _, inside = photograph.path.partition("/")
    found = importlib.util.find_spec(package)
    if found is None or found.origin is None:
        raise DataError(
            f"{SOURCE} needs {package}, which is not installed: pip install -e '.[pretraining]'"
        )
    path = Path(found.origin).parent / inside
    try:
        contents = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}; {_MEND}") from error
    if hashlib.sha256(contents).hexdigest() != photograph.sha256:
        raise DataError(f"{path} is another photograph than the one that is known; {_MEND}")
    pixels: NDArray[np.uint8] = decode_image(tf.constant(contents)).numpy()
    return pixels
