"""The parts of a recipe: images, augmentation, head, stages. Standard library only."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal


def between(low: float, high: float, default: Any) -> Any:
    """A number with the range in which it makes sense, both ends included."""
    return field(default=default, metadata={"limits": (low, high)})


def spell_out_embedded(recipe: Any, usual: str) -> None:
    """Writes into a frozen recipe what the backbone `embedded` stands for.

    Args:
        recipe: Has `backbone` and `weights`; is changed, so only call this while it is made.
        usual: Its weights if nothing is said of them. Others are kept.
    """
    if recipe.backbone == "embedded":
        object.__setattr__(recipe, "backbone", "compact")
        if recipe.weights == usual:
            object.__setattr__(recipe, "weights", "embedded")


@dataclass(frozen=True)
class Data:
    """Which images, and how they are divided and read.

    Attributes:
        source: Folder of images, CSV file, TFDS directory, `tfds:<name>`, or `sklearn:digits`.
        image_size: Side of the square images in pixels; none takes the backbone's own.
        batch_size: Images a training step.
        validation_fraction: Share of the images that chooses the best weights.
        test_fraction: Share of the images kept apart for the final measurement.
    """

    source: str = ""
    image_size: int | None = between(8, 4096, None)
    batch_size: int = between(1, 65536, 32)
    validation_fraction: float = between(0.01, 0.9, 0.15)
    test_fraction: float = between(0.01, 0.9, 0.15)


@dataclass(frozen=True)
class Augmentation:
    """How training images are varied.

    Attributes:
        preset: Strength of the albumentations pipeline; rand_augment draws its operations, and
            contrastive is for pretraining, whose views have little in common.
        operations: How many of rand_augment's operations each image goes through.
        magnitude: How strong rand_augment's operations are, from 0 to 10.
        flip: Which mirror images are as good as the image.
        mixup: Alpha of the Beta distribution by which pairs of images are blended; 0 for none.
        cutmix: Alpha of the Beta distribution by which a part of an image is replaced with
            that of another; 0 for none. With mixup each batch draws one of the two.
    """

    preset: Literal["none", "light", "medium", "strong", "rand_augment", "contrastive"] = "light"
    operations: int = between(1, 10, 2)
    magnitude: float = between(0.0, 10.0, 5.0)
    flip: Literal["none", "horizontal", "both"] = "horizontal"
    mixup: float = between(0.0, 100.0, 0.0)
    cutmix: float = between(0.0, 100.0, 0.0)


@dataclass(frozen=True)
class Head:
    """The freshly initialised layers on top of the backbone.

    Attributes:
        features: What the head reads: the last feature map of the backbone, or that of every
            block.
        normalize: Whether each feature is brought to mean 0 and variance 1 over the training
            images.
        pooling: How a feature map becomes a vector.
        units: Widths of the hidden layers, such as 256,128; () for none.
        funnel: How many hidden layers, in place of units: their widths fall by the same
            factor from that of the features to the number of classes.
        activation: Activation of the hidden layers.
        batch_norm: Batch normalisation in each hidden layer, before its activation.
        residual: Whether the input of each hidden layer is added to its output, through a
            linear projection where their widths differ.
        dropout: Share of the inputs of every dense layer that is dropped in training.
        initializer: Keras initializer of the dense kernels.
        output_bias: What the last bias starts from: zeros, or the log share of each class.
        l1: Penalty on the absolute values of the dense kernels, added to the loss.
        l2: Penalty on the squares of the dense kernels, added to the loss.
    """

    features: Literal["last", "every_block"] = "last"
    normalize: bool = False
    pooling: Literal["average", "max"] = "average"
    units: tuple[int, ...] = between(1, 65536, ())
    funnel: int = between(0, 10, 0)
    activation: Literal["relu", "leaky_relu", "elu", "selu", "gelu", "silu", "tanh", "sigmoid"] = (
        "relu"
    )
    batch_norm: bool = False
    residual: bool = False
    dropout: float = between(0.0, 0.99, 0.2)
    initializer: Literal[
        "glorot_uniform",
        "glorot_normal",
        "he_uniform",
        "he_normal",
        "lecun_uniform",
        "lecun_normal",
        "orthogonal",
        "random_normal",
        "random_uniform",
        "zeros",
    ] = "glorot_uniform"
    output_bias: Literal["zeros", "priors"] = "zeros"
    l1: float = between(0.0, 1000.0, 0.0)
    l2: float = between(0.0, 1000.0, 0.0)


@dataclass(frozen=True)
class Stage:
    """One round of training, compiled anew with its own optimizer.

    Attributes:
        epochs: Most passes over the training images.
        learning_rate: Peak learning rate; auto finds it by a range test as the stage begins.
        unfreeze: What trains beside the head: head, top:<k blocks>, a block's name for it and
            all after it, <block>..<block> for these alone, 0.3, or all.
        loss: What is minimised; cross_entropy is a softmax's for many classes, a sigmoid's for
            two classes and for many labels.
        focal_gamma: How much the focal loss turns from images that are easy already.
        class_weights: Whether rare classes weigh as much in all as frequent ones.
        label_smoothing: Share of each label that is spread over all classes.
        optimizer: Keras optimizer.
        momentum: Of momentum and nesterov.
        weight_decay: Decoupled weight decay a step, on kernels only.
        layer_decay: Factor of the learning rate from each block to the one below it, the head
            at 1.
        schedule: Course of the learning rate after the warm-up.
        warmup_epochs: In which the learning rate rises from zero to its peak; half of the stage
            at most. For one_cycle the length of the rise, 30 % of the stage if 0.
        decay_epochs: Until the step and exponential schedules have multiplied the rate by
            decay_rate, and so on.
        decay_rate: Factor of the step, exponential and plateau schedules.
        decay_power: Exponent of the polynomial schedule; 1 falls in a straight line.
        plateau_patience: Epochs without a better validation loss before the plateau schedule
            lowers the rate.
        clip_value: Largest absolute value of any gradient.
        clip_norm: Largest norm of the gradient of any one weight array.
        global_clip_norm: Largest norm of all gradients together.
        accumulate_steps: Batches whose gradients are averaged for one update.
        weight_average: Whether the weights that are measured and kept are averages: ema, an
            exponential moving one over steps, or swa, an equal one over epochs.
        ema_momentum: Share of the moving average that each step keeps.
        swa_start: When stochastic weight averaging begins.
        patience: Epochs without a better validation loss before the stage stops.
        keep: Which epoch's weights are left: that of the lowest validation loss so far, of all
            stages, or the last; a few validation images choose badly, and a schedule that ends
            at zero settles by itself.
        train_batch_norm: Whether BatchNorm of the unfrozen blocks trains; else it stays
            in inference mode, statistics and scales as they are.
        views: How many varied views of each image the epochs walk through, each of which goes
            through the frozen blocks once; 0 for a new view each epoch. auto is one or two
            where blocks are frozen, and 0 elsewhere.
    """

    epochs: int = between(1, 100_000, 10)
    learning_rate: float | Literal["auto"] = between(0.0, 1000.0, 1e-3)
    unfreeze: str = "head"
    loss: Literal["cross_entropy", "sigmoid_cross_entropy", "focal", "hinge", "squared_error"] = (
        "cross_entropy"
    )
    focal_gamma: float = between(0.0, 10.0, 2.0)
    class_weights: Literal["none", "balanced"] = "none"
    label_smoothing: float = between(0.0, 0.9, 0.0)
    optimizer: Literal[
        "sgd", "momentum", "nesterov", "rmsprop", "adam", "adamw", "nadam", "lion"
    ] = "adam"
    momentum: float = between(0.0, 0.999, 0.9)
    weight_decay: float = between(0.0, 1.0, 0.0)
    layer_decay: float = between(0.01, 1.0, 1.0)
    schedule: Literal[
        "constant", "step", "exponential", "polynomial", "cosine", "one_cycle", "plateau"
    ] = "constant"
    warmup_epochs: float | str = between(0.0, 100_000.0, 0.0)
    decay_epochs: float | str = between(0.01, 100_000.0, "30%")
    decay_rate: float = between(0.0001, 0.9999, 0.1)
    decay_power: float = between(0.01, 10.0, 1.0)
    plateau_patience: int = between(1, 100_000, 2)
    clip_value: float | None = between(1e-12, 1e12, None)
    clip_norm: float | None = between(1e-12, 1e12, None)
    global_clip_norm: float | None = between(1e-12, 1e12, None)
    accumulate_steps: int = between(1, 65536, 1)
    weight_average: Literal["none", "ema", "swa"] = "none"
    ema_momentum: float = between(0.0, 0.999999, 0.99)
    swa_start: float | str = between(0.0, 100_000.0, "75%")
    patience: int = between(1, 100_000, 5)
    keep: Literal["best", "last"] = "best"
    train_batch_norm: bool = False
    views: int | Literal["auto"] = between(0, 100_000, "auto")


class Stages(Mapping[str, Stage]):
    """Stages by name: a dictionary that never changes, and in which the order counts."""

    def __init__(self, stages: Mapping[str, Stage]) -> None:
        self._stages = dict(stages)

    def __getitem__(self, name: str) -> Stage:
        return self._stages[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._stages)

    def __len__(self) -> int:
        return len(self._stages)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Mapping) and list(self.items()) == list(other.items())

    def __hash__(self) -> int:
        return hash(tuple(self.items()))

    def __repr__(self) -> str:
        return repr(self._stages)
