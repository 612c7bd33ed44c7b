"""The project's own backbone: a small residual network that learns from few images."""

from __future__ import annotations

from typing import Any

import keras
from keras import layers, ops

WIDTHS = (32, 64, 112, 160)
BLOCKS_PER_STAGE = 2
STAGES = range(1, len(WIDTHS) + 1)
# Keras's 0.99 takes hundreds of steps to forget the first ones; a few hundred images give
# some dozens an epoch, and until then validation sees statistics of the first.
BATCH_NORM_MOMENTUM = 0.9


@keras.saving.register_keras_serializable("graft")
class StatisticsPooling2D(layers.Layer):  # type: ignore[misc]  # keras is untyped
    """Joins mean and standard deviation of every map, `[n, h, w, channels]` to `[n, 2 channels]`.

    Both are taken in 32 bits or more, for squares of half floats overflow.
    """

    def call(self, maps: Any) -> Any:
        """Means first, in the layer's precision."""
        whole = ops.cast(maps, keras.backend.result_type(maps.dtype, "float32"))
        # A little is added: the root is infinitely steep at 0.
        deviation = ops.sqrt(ops.var(whole, axis=(1, 2)) + 1e-5)
        joined = ops.concatenate([self.means(whole), deviation], axis=-1)
        return ops.cast(joined, self.compute_dtype)

    def means(self, maps: Any) -> Any:
        """Takes the means that come first."""
        return ops.mean(maps, axis=(1, 2))


@keras.saving.register_keras_serializable("graft")
class QuarteredPooling2D(StatisticsPooling2D):
    """Joins the means of each map's quarters and its standard deviation.

    `[n, h, w, channels]`, 2 x 2 or larger, to `[n, 5 channels]`. Quarters of odd maps share the row
    and the column in the middle.
    """

    def means(self, maps: Any) -> Any:
        """Takes upper left, upper right, lower left, lower right."""
        height, width, channels = maps.shape[1:]
        window, step = ((height + 1) // 2, (width + 1) // 2), (height // 2, width // 2)
        quarters = ops.average_pool(maps, window, step)
        return ops.reshape(quarters, (-1, 4 * channels))


def build_compact(image_size: int) -> keras.Model:
    """Builds the compact residual network with random weights.

    Plain 3 x 3 convolutions in basic residual blocks (He et al. 2015, arXiv 1512.03385)
    of four widths, each stage half as large as the one before; He-normal initialisation
    (arXiv 1502.01852). No convolution is depthwise.

    The output joins the pooled outputs of all four stages: of each map the means of its quarters,
    which tell where in the image something is, and its standard deviation, which tells of textures
    what means do not (`benchmarks/probing.py --parts` shows what each is worth).

    Args:
        image_size: Side of the square input in pixels, 32 or more.

    Returns:
        A functional model, float pixels of -1 to 1 `[n, size, size, 3]` in, features
        `[n, 1840]` out.
    """
    pixels = keras.Input((image_size, image_size, 3), name="pixels")
    x = _convolved(pixels, WIDTHS[0], "stem", stride=2)
    stages = []
    for stage, width in zip(STAGES, WIDTHS, strict=True):
        for block in range(1, BLOCKS_PER_STAGE + 1):
            # The stem has halved the image for the first stage already.
            stride = 2 if stage > 1 and block == 1 else 1
            x = _residual(x, width, f"stage{stage}_block{block}", stride)
        stages.append(x)
    pooled = [
        QuarteredPooling2D(name=f"features_stage{stage}")(x)
        for stage, x in zip(STAGES, stages, strict=True)
    ]
    return keras.Model(pixels, layers.Concatenate(name="features_joined")(pooled), name="backbone")


def without_places(base: keras.Model) -> keras.Model:
    """Pools the same maps to what does not say where in an image something is.

    Two crops of an image have other things in their quarters: what is to agree between them is read
    off whole maps.

    Args:
        base: A compact network, whose layers are shared.

    Returns:
        The same pixels in, `[n, 736]` out: of each stage the means of its maps, then their
        deviations.
    """
    maps = [base.get_layer(f"stage{stage}_block{BLOCKS_PER_STAGE}_relu") for stage in STAGES]
    pooled = [
        StatisticsPooling2D(name=f"statistics_stage{stage}")(layer.output)
        for stage, layer in zip(STAGES, maps, strict=True)
    ]
    joined = layers.Concatenate(name="statistics_joined")(pooled)
    return keras.Model(base.input, joined, name="backbone")


def _residual(x: keras.KerasTensor, width: int, name: str, stride: int) -> keras.KerasTensor:
    y = _convolved(x, width, f"{name}_1", stride)
    y = _normalised(y, width, f"{name}_2")
    if x.shape[-1] != width or stride > 1:
        x = _normalised(x, width, f"{name}_shortcut", stride, kernel=1)
    y = layers.Add(name=f"{name}_add")([x, y])
    return layers.ReLU(name=f"{name}_relu")(y)


def _convolved(x: keras.KerasTensor, width: int, name: str, stride: int = 1) -> keras.KerasTensor:
    return layers.ReLU(name=f"{name}_relu")(_normalised(x, width, name, stride))


def _normalised(
    x: keras.KerasTensor, width: int, name: str, stride: int = 1, kernel: int = 3
) -> keras.KerasTensor:
    """Convolves without a bias, which the normalisation after it would take away again."""
    x = layers.Conv2D(
        width,
        kernel,
        strides=stride,
        padding="same",
        use_bias=False,
        kernel_initializer="he_normal",
        name=f"{name}_conv",
    )(x)
    return layers.BatchNormalization(momentum=BATCH_NORM_MOMENTUM, name=f"{name}_bn")(x)
