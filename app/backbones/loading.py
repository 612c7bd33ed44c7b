"""Fills a built backbone with weights from where they lie."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path

import keras
import numpy as np

from app.backbones.backbone import Backbone
from app.backbones.blocks import base_of
from app.backbones.weights import (
    Provenance,
    cached_file,
    embedded_file,
    given_file,
    is_embedded,
    sha256_of,
    weights_folder,
)
from app.errors import WeightsError

PATIENCE_SECONDS = 10.0


def load_weights(
    base: keras.Model, backbone: Backbone, weights: str, image_size: int
) -> Provenance:
    """Fills a backbone with weights.

    Args:
        base: The backbone as it was built, without a classifier.
        backbone: What is known of it.
        weights: `imagenet`, `embedded`, a version of it, `none` (what it was built with
            stays), or the path of a `.h5`, `.weights.h5` or `.keras` file or of a run directory.
        image_size: Side of its images in pixels; chooses among files for several sizes.

    Returns:
        Where the weights came from.

    Raises:
        WeightsError: If they are not to be had, or are those of another network.
    """
    if weights == "none":
        return Provenance("none")
    if weights == "imagenet":
        file = imagenet_file(backbone, image_size)
    elif is_embedded(weights):
        file = embedded_file(backbone, weights)
    else:
        file = given_file(weights)
    if file.suffix == ".npz":
        unpack(base, file)
    elif file.suffix == ".keras":
        _copy_from_model(base, backbone, file)
    else:
        _load_hdf5(base, backbone, file)
    return Provenance(weights, str(file), sha256_of(file))


def pack(base: keras.Model, file: Path) -> None:
    """Writes the weights of a backbone small: kernels in half precision, the rest in single.

    Statistics of BatchNorm are small in number, and can lie below what half floats tell.

    Raises:
        WeightsError: If a number is none, or too large for half a float.
    """
    arrays = {}
    for weight in base.weights:
        kind = "float16" if len(weight.shape) > 1 else "float32"
        with np.errstate(over="ignore"):  # it is asked right after
            arrays[weight.path] = np.asarray(weight, kind)
        if not np.isfinite(arrays[weight.path]).all():
            raise WeightsError(f"{weight.path} holds what is no number of {kind}: train it again")
    with file.open("wb") as opened:
        np.savez_compressed(opened, **arrays)  # type: ignore[arg-type]  # numpy's own name for an argument is not used


def unpack(base: keras.Model, file: Path) -> None:
    """Fills a backbone with what `pack` wrote of another of its kind.

    Raises:
        WeightsError: If it is of another network.
    """
    with np.load(file, allow_pickle=False) as arrays:
        shapes = {name: arrays[name].shape for name in arrays.files}
        if shapes != {weight.path: tuple(weight.shape) for weight in base.weights}:
            raise WeightsError(f"the weights in {file} are of another network: install graft again")
        for weight in base.weights:
            weight.assign(arrays[weight.path].astype("float32"))


def imagenet_file(backbone: Backbone, image_size: int) -> Path:
    """Finds the ImageNet weights, and lets Keras download them if they are not here.

    Raises:
        WeightsError: If there are none, or if they cannot be downloaded.
    """
    if backbone.weights_file is None:
        raise WeightsError(
            f"there are no ImageNet weights for {backbone.name}: use `--weights embedded` or "
            "`--weights none`"
        )
    file = cached_file(backbone, image_size)
    if file is None:
        reason = _download(backbone, image_size)
        file = cached_file(backbone, image_size)
    if file is None:
        raise WeightsError(
            f"the ImageNet weights of {backbone.name} are missing and no download brought them "
            f"({reason}): put {backbone.weights_names(image_size)[0]} into {weights_folder()}, "
            "or use `--weights none`, or `--backbone compact --weights embedded`"
        )
    return file


def _download(backbone: Backbone, image_size: int) -> str:
    """Lets Keras fetch the weights in its own way; says what went wrong, if anything did.

    Keras fetches while it builds, so a network is built for that and thrown away.
    """
    size = image_size if image_size in backbone.weights_sizes else backbone.image_size
    construct = getattr(keras.applications, str(backbone.constructor))
    try:
        # Keras announces its downloads on standard output, which is for results.
        with _impatient_sockets(), redirect_stdout(sys.stderr):
            construct(
                weights="imagenet",
                include_top=False,
                input_shape=(size, size, 3),
                **dict(backbone.arguments),
            )
    # Keras raises a bare `Exception` when it cannot download.
    except Exception as error:
        return _in_one_line(error)
    return "Keras looks in another folder"


@contextmanager
def _impatient_sockets() -> Iterator[None]:
    """Makes connections that stay silent fail soon: by default they wait for ever."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(PATIENCE_SECONDS)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def _load_hdf5(base: keras.Model, backbone: Backbone, file: Path) -> None:
    try:
        base.load_weights(file)
    except OSError as error:  # HDF5 itself cannot read it
        raise WeightsError(
            f"{file} is damaged, perhaps by an interrupted download "
            f"({_in_one_line(error)}): remove it and try again"
        ) from error
    # What Keras raises for a misfit depends on where the two networks part.
    except Exception as error:
        raise _misfit(backbone, file, _in_one_line(error)) from error


def _copy_from_model(base: keras.Model, backbone: Backbone, file: Path) -> None:
    """Takes the weights of the layer `backbone` of a saved model, or of the model itself."""
    try:
        model = keras.saving.load_model(file, compile=False)
    except Exception as error:
        raise _misfit(backbone, file, _in_one_line(error)) from error
    source = base_of(model)
    shapes, wanted = ([tuple(w.shape) for w in m.weights] for m in (source, base))
    if shapes != wanted:
        what = f"its {source.name!r} has {source.count_params()} numbers in {len(shapes)} arrays"
        raise _misfit(backbone, file, what)
    base.set_weights(source.get_weights())


def _misfit(backbone: Backbone, file: Path, what: str) -> WeightsError:
    return WeightsError(
        f"the weights in {file} do not fit {backbone.name} ({what}): "
        "give the backbone that they were saved from, or other weights"
    )


def _in_one_line(error: Exception, most: int = 300) -> str:
    line = " ".join(str(error).split()) or type(error).__name__
    return line if len(line) <= most else line[: most - 3] + "..."
