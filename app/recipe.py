"""Recipes: frozen values that say what to do, and nothing else.

Every leaf of a recipe is a string, a number, a truth value, None or a tuple of
them, so a recipe travels unchanged to the command line, to JSON beside the run
and to a hyperparameter search. This module uses the standard library only:
mistakes are answered before TensorFlow loads.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from app import settings
from app.errors import RecipeError
from app.kinds import Leaf

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
_STAGE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_]*")


def _between(low: float, high: float, default: Any) -> Any:
    """A number with the range in which it makes sense, both ends included."""
    return field(default=default, metadata={"limits": (low, high)})


@dataclass(frozen=True)
class Data:
    """Which images, and how they are divided and read.

    Attributes:
        source: Folder of images, TFDS directory, `tfds:<name>`, or `sklearn:digits`.
        image_size: Side of the square images in pixels; none takes the backbone's own.
        batch_size: Images a training step.
        validation_fraction: Share of the images that chooses the best weights.
        test_fraction: Share of the images kept apart for the final measurement.
    """

    source: str = ""
    image_size: int | None = _between(8, 4096, None)
    batch_size: int = _between(1, 65536, 32)
    validation_fraction: float = _between(0.01, 0.9, 0.15)
    test_fraction: float = _between(0.01, 0.9, 0.15)


@dataclass(frozen=True)
class Augmentation:
    """How training images are varied.

    Attributes:
        preset: Strength of the albumentations pipeline; rand_augment draws its operations.
        operations: How many of rand_augment's operations each image goes through.
        magnitude: How strong rand_augment's operations are, from 0 to 10.
        flip: Which mirror images are as good as the image.
        mixup: Alpha of the Beta distribution by which pairs of images are blended; 0 for none.
        cutmix: Alpha of the Beta distribution by which a part of an image is replaced with
            that of another; 0 for none. With mixup each batch draws one of the two.
    """

    preset: Literal["none", "light", "medium", "strong", "rand_augment"] = "light"
    operations: int = _between(1, 10, 2)
    magnitude: float = _between(0.0, 10.0, 5.0)
    flip: Literal["none", "horizontal", "both"] = "horizontal"
    mixup: float = _between(0.0, 100.0, 0.0)
    cutmix: float = _between(0.0, 100.0, 0.0)


@dataclass(frozen=True)
class Head:
    """The freshly initialised layers on top of the backbone.

    Attributes:
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

    pooling: Literal["average", "max"] = "average"
    units: tuple[int, ...] = _between(1, 65536, ())
    funnel: int = _between(0, 10, 0)
    activation: Literal["relu", "leaky_relu", "elu", "selu", "gelu", "silu", "tanh", "sigmoid"] = (
        "relu"
    )
    batch_norm: bool = False
    residual: bool = False
    dropout: float = _between(0.0, 0.99, 0.2)
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
    l1: float = _between(0.0, 1000.0, 0.0)
    l2: float = _between(0.0, 1000.0, 0.0)


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
        train_batch_norm: Whether BatchNorm of the unfrozen blocks trains; else it stays
            in inference mode, statistics and scales as they are.
    """

    epochs: int = _between(1, 100_000, 10)
    learning_rate: float | Literal["auto"] = _between(0.0, 1000.0, 1e-3)
    unfreeze: str = "head"
    loss: Literal["cross_entropy", "sigmoid_cross_entropy", "focal", "hinge", "squared_error"] = (
        "cross_entropy"
    )
    focal_gamma: float = _between(0.0, 10.0, 2.0)
    class_weights: Literal["none", "balanced"] = "none"
    label_smoothing: float = _between(0.0, 0.9, 0.0)
    optimizer: Literal[
        "sgd", "momentum", "nesterov", "rmsprop", "adam", "adamw", "nadam", "lion"
    ] = "adam"
    momentum: float = _between(0.0, 0.999, 0.9)
    weight_decay: float = _between(0.0, 1.0, 0.0)
    layer_decay: float = _between(0.01, 1.0, 1.0)
    schedule: Literal[
        "constant", "step", "exponential", "polynomial", "cosine", "one_cycle", "plateau"
    ] = "constant"
    warmup_epochs: float | str = _between(0.0, 100_000.0, 0.0)
    decay_epochs: float | str = _between(0.01, 100_000.0, "30%")
    decay_rate: float = _between(0.0001, 0.9999, 0.1)
    decay_power: float = _between(0.01, 10.0, 1.0)
    plateau_patience: int = _between(1, 100_000, 2)
    clip_value: float | None = _between(1e-12, 1e12, None)
    clip_norm: float | None = _between(1e-12, 1e12, None)
    global_clip_norm: float | None = _between(1e-12, 1e12, None)
    accumulate_steps: int = _between(1, 65536, 1)
    weight_average: Literal["none", "ema", "swa"] = "none"
    ema_momentum: float = _between(0.0, 0.999999, 0.99)
    swa_start: float | str = _between(0.0, 100_000.0, "75%")
    patience: int = _between(1, 100_000, 5)
    train_batch_norm: bool = False


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


@dataclass(frozen=True)
class Recipe:
    """What to do, whole.

    Attributes:
        name: Names the folders of runs and exports.
        data: The images.
        augmentation: How training images are varied.
        backbone: A name that `graft backbones` lists.
        weights: imagenet, embedded, none, or the path of a weights file.
        head: The new layers.
        stages: What is trained when, in order.
        seed: Seeds initialisation, splits, order, dropout and augmentation.
        precision: auto is mixed_float16 on a GPU and float32 elsewhere.
        deterministic: Whether the same seed gives the same weights, bit by bit; false is quicker
            on a GPU.
        threads: Among how many threads an operation is divided while deterministic: the bits
            follow from it, and not from the number of cores.
        jit_compile: Whether XLA compiles the steps; none is yes on one GPU that need not be
            deterministic, and no elsewhere.
        checkpoint_steps: Steps from one checkpoint to the next; none is one each epoch.
    """

    name: str
    data: Data = Data()
    augmentation: Augmentation = Augmentation()
    backbone: str = "mobilenet_v2"
    weights: str = "imagenet"
    head: Head = Head()
    stages: Mapping[str, Stage] = field(default_factory=lambda: {"train": Stage()})
    seed: int = _between(0, 2**31 - 1, 0)
    precision: Literal["auto", "float32", "mixed_float16", "mixed_bfloat16"] = "auto"
    deterministic: bool = True
    threads: int = _between(1, 1024, 8)
    jit_compile: bool | None = None
    checkpoint_steps: int | None = _between(1, 10**9, None)

    def __post_init__(self) -> None:
        """Takes a copy of the stages, so that whoever made the recipe cannot change it."""
        if isinstance(self.stages, Mapping):
            object.__setattr__(self, "stages", Stages(self.stages))


def check(recipe: Recipe) -> None:
    """Makes sure that every leaf has its declared type and lies in its range.

    Raises:
        RecipeError: If one does not; the message names it.
    """
    for leaf in settings.leaves(recipe).values():
        leaf.accept(leaf.value)
    if not _NAME.fullmatch(recipe.name):
        raise RecipeError(f"name is {recipe.name!r}: use letters a to z, digits, - and _ only")
    if not recipe.stages:
        raise RecipeError(f"{recipe.name} has no stage: give it at least one")
    if recipe.data.validation_fraction + recipe.data.test_fraction >= 1:
        raise RecipeError(
            "data.validation_fraction and data.test_fraction leave no image for training: "
            "their sum must be less than 1"
        )
    for name, stage in recipe.stages.items():
        if not _STAGE_NAME.fullmatch(name):
            raise RecipeError(f"{name!r} names a stage: use letters a to z, digits and _ only")
        _check_unfreeze(f"stages.{name}.unfreeze", stage.unfreeze)
        _check_stage(recipe, f"stages.{name}", stage)
    _check_head(recipe.head)
    if recipe.deterministic and recipe.jit_compile:
        raise RecipeError(
            "jit_compile is true and deterministic is true, which Keras cannot do together: "
            "add --deterministic false, or leave jit_compile"
        )


def _check_head(head: Head) -> None:
    if head.units and head.funnel:
        raise RecipeError("head.units and head.funnel both set the hidden layers: keep one of them")
    if head.residual and not (head.units or head.funnel):
        raise RecipeError("head.residual is true, but there is no hidden layer: set head.units")


def _check_stage(recipe: Recipe, path: str, stage: Stage) -> None:
    clips = ("clip_value", "clip_norm", "global_clip_norm")
    given = [name for name in clips if getattr(stage, name) is not None]
    if len(given) > 1:
        raise RecipeError(f"{path} clips gradients by {' and '.join(given)}: keep one of them")
    if stage.loss == "hinge" and stage.label_smoothing:
        raise RecipeError(f"{path}.label_smoothing means nothing to the hinge loss: leave it at 0")
    if stage.loss == "hinge" and (recipe.augmentation.mixup or recipe.augmentation.cutmix):
        raise RecipeError(
            f"{path}.loss is 'hinge', which needs one class an image: "
            "set augmentation.mixup and augmentation.cutmix to 0"
        )


def _check_unfreeze(path: str, unfreeze: str) -> None:
    """Blocks are known only once the backbone is; a count or a share can be checked now."""
    if ".." in unfreeze and not all(unfreeze.split("..", 1)):
        raise RecipeError(f"{path} is {unfreeze!r}: write <first block>..<last block>")
    if unfreeze.startswith("top:") and not re.fullmatch(r"top:[1-9]\d*", unfreeze):
        raise RecipeError(f"{path} is {unfreeze!r}: write top:<number of blocks>, such as top:2")
    if re.match(r"[-+.\d]", unfreeze):
        try:
            share = float(unfreeze)
        except ValueError:
            share = -1.0
        if not 0 < share <= 1:
            raise RecipeError(
                f"{path} is {unfreeze!r}: a share of the blocks is above 0, at most 1"
            )


def override(recipe: Recipe, changes: Mapping[str, Leaf]) -> Recipe:
    """Returns the recipe with some of its settings changed; `recipe` stays as it is.

    Args:
        recipe: Where to start from.
        changes: By name: a dotted suffix (`fine_tune.epochs`) reaches one leaf,
            a bare name (`epochs`) every leaf of that name. Later ones win.

    Raises:
        RecipeError: If a name is unknown, or a value has the wrong type or range.
    """
    changed = settings.override(recipe, changes)
    check(changed)
    return changed


def from_json(text: str) -> Recipe:
    """Reads a recipe that `settings.to_json` wrote.

    Raises:
        RecipeError: If it is no JSON, or has an unknown or wrong setting.
    """
    recipe = settings.from_json(Recipe, text)
    check(recipe)
    return recipe
