"""What the curves of a run teach, in sentences: where to look, not what is proved."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from app.recipe import Recipe
from app.settings import show
from app.training.curves import (
    CLEAR,
    FEW,
    LEAST,
    Epoch,
    creeps,
    read_epochs,
    still_falls,
    swings,
    turning_point,
)

MOST = 6  # sentences: nobody acts upon more
# Of accuracy: three standard errors where 80 in 100 of 150 images are right.
GAP = 0.10
CONVERGED = 0.95  # accuracy from which slow progress is all that is left
LOW = 0.85  # accuracy at which a network that learns no more has not learned enough

Curves = Mapping[str, Sequence[Epoch]]


def lessons(rows: Sequence[Mapping[str, Any]], recipe: Recipe) -> list[str]:
    """Says what the curves of a run suggest: over- or underfitting, rates, lengths of stages.

    Training and validation are compared by their accuracies only: the training loss may
    hold smoothing, class weights or penalties. With mixup or cutmix the training accuracy
    counts blended images, so then nothing is said that needs it. Training accuracy is also
    an average over an epoch in which the network still changed, with dropout and
    augmentation: a gap is wider than it looks.

    Args:
        rows: Of `history.csv`, numbers as text or as numbers, in their order. A row that
            lacks a number is passed over.
        recipe: That was run.

    Returns:
        One to six sentences, the weightiest first.
    """
    epochs = read_epochs(rows)
    curves: dict[str, list[Epoch]] = {}
    for each in filter(lambda epoch: epoch.is_whole, epochs):
        curves.setdefault(each.stage, []).append(each)
    found = [*_no_number(epochs, recipe), *(_of_curves(curves, recipe) if curves else [])]
    if found:
        return found[:MOST]
    if len(epochs) < 2:
        return ["An epoch alone has no course: nothing can be learned from it."]
    if _mixes(recipe):
        return ["Nothing stands out; with images blended, overfitting does not show in the curves."]
    return ["Nothing stands out: no clear over- or underfitting, and no stage without effect."]


def _of_curves(curves: Curves, recipe: Recipe) -> Iterator[str]:
    wrong_rates = dict(_rates(curves, recipe))
    yield from _overfitting(curves, recipe)
    yield from wrong_rates.values()
    yield from _idle_stages(curves, recipe)
    if [*curves][-1] not in wrong_rates:  # else the end of the curve says little
        yield from [*_unfinished(curves, recipe)] or _underfitting(curves, recipe)


def _no_number(epochs: Iterable[Epoch], recipe: Recipe) -> Iterator[str]:
    lost = [e for e in epochs if not (math.isfinite(e.loss) and math.isfinite(e.validation_loss))]
    for first in lost[:1]:
        rate = _now(recipe, first.stage, "learning_rate")
        yield f"The loss became no number in epoch {first.number} of {first.stage}: lower {rate}."


def _overfitting(curves: Curves, recipe: Recipe) -> Iterator[str]:
    epochs = [each for stage in curves.values() for each in stage]
    best, last = min(epochs, key=lambda each: each.validation_loss), epochs[-1]
    turns = {name: turning_point(stage) for name, stage in curves.items()}
    overfits = not _mixes(recipe) and max(best.gap, last.gap) >= GAP
    if overfits:
        yield (
            f"Overfitting: training is ahead of validation by {100 * best.gap:z.0f} points of "
            f"accuracy at the best epoch ({best.accuracy:.3f} against "
            f"{best.validation_accuracy:.3f}, epoch {best.number} of {best.stage}), and by "
            f"{100 * last.gap:z.0f} at the last."
        )
    for name, turn in turns.items():
        if turn:
            end = curves[name][-1].validation_loss
            yield (
                f"After epoch {turn.number} of {name} the validation loss rises from "
                f"{turn.validation_loss:.3f} to {end:.3f} while the training loss falls: the "
                f"network learns its images by heart."
            )
    if overfits or any(turns.values()):
        yield _remedies(recipe, last.stage)


def _remedies(recipe: Recipe, stage_name: str) -> str:
    """Names what usually helps against overfitting, what is not used yet first."""
    values = [*_regularisation(recipe, stage_name)]
    unused = [f"{name} {often}" for name, now, often in values if now in (0, "none")]
    used = [f"{name} (now {show(now)})" for name, now, _ in values if now not in (0, "none")]
    stage = recipe.stages.get(stage_name)
    if stage and stage.unfreeze != "head":
        used.append(f"fewer unfrozen blocks, {_now(recipe, stage_name, 'unfreeze')}")
    parts = [f"not used yet: {', '.join(unused)}"] if unused else []
    parts += [f"used, and could go further: {', '.join(used)}"] if used else []
    return f"More images help most; of the settings, {'; '.join(parts)}."


def _regularisation(recipe: Recipe, stage_name: str) -> Iterator[tuple[str, Any, str]]:
    """Yields a setting, what it is, and a value that is often good."""
    stage = recipe.stages.get(stage_name)
    takes_soft_labels = all(each.loss != "hinge" for each in recipe.stages.values())
    yield "augmentation.preset", recipe.augmentation.preset, "medium"
    yield "head.dropout", recipe.head.dropout, "0.3"
    if stage:
        yield f"stages.{stage_name}.weight_decay", stage.weight_decay, "0.05"
    if stage and stage.loss != "hinge":
        yield f"stages.{stage_name}.label_smoothing", stage.label_smoothing, "0.1"
    if takes_soft_labels:
        yield "augmentation.mixup", recipe.augmentation.mixup, "0.2"


def _rates(curves: Curves, recipe: Recipe) -> Iterator[tuple[str, str]]:
    """Yields stages whose learning rate was too high or too low."""
    for name, epochs in curves.items():
        losses, end = [each.loss for each in epochs], epochs[-1]
        rate = _now(recipe, name, "learning_rate")
        course = f"from {losses[0]:.3g} to {losses[-1]:.3g}"
        reached = end.validation_accuracy if _mixes(recipe) else end.accuracy
        if swings(losses):
            yield name, f"The training loss of {name} rises or swings, {course}: lower {rate}."
        elif creeps(losses) and reached < CONVERGED:
            line = f"The training loss of {name} falls slowly and in a straight line, {course}"
            yield name, f"{line}: raise {rate}, some 3 to 10 times."


def _idle_stages(curves: Curves, recipe: Recipe) -> Iterator[str]:
    before = math.inf
    for name, epochs in curves.items():
        losses = [each.validation_loss for each in epochs]
        if min(losses) >= before:
            advice = f"leave it out, or change {_now(recipe, name, 'learning_rate')}"
            if still_falls(losses):
                advice = f"it was still falling, so raise {_now(recipe, name, 'epochs')}"
            yield (
                f"Stage {name} brought no better validation loss, {min(losses):.3f} after "
                f"{before:.3f} before it: {advice}."
            )
        before = min(before, *losses)


def _unfinished(curves: Curves, recipe: Recipe) -> Iterator[str]:
    """Finds a last stage that was cut off; those before it are gone on with anyway."""
    name, epochs = [*curves.items()][-1]
    losses = [each.validation_loss for each in epochs]
    earlier = [each.validation_loss for stage in curves.values() for each in stage][:-1]
    gained = min(earlier, default=-math.inf) - losses[-1]
    best = gained >= max(CLEAR * losses[-1], LEAST)
    if best or still_falls(losses):
        what = "its last epoch is clearly the best" if best else "its validation loss still fell"
        more = _now(recipe, name, "epochs")
        yield f"Stage {name} was still improving when it stopped, {what}: raise {more}."


def _underfitting(curves: Curves, recipe: Recipe) -> Iterator[str]:
    name, epochs = [*curves.items()][-1]
    end = epochs[-1]
    reached = max(end.accuracy, end.validation_accuracy)
    if _mixes(recipe) or len(epochs) < FEW or reached >= LOW or end.gap >= GAP / 2:
        return
    yield (
        f"Underfitting: accuracy is {end.accuracy:.3f} even in training, "
        f"{end.validation_accuracy:.3f} in validation, and no longer improves: "
        f"{_stronger(epochs, name, recipe)}."
    )


def _stronger(epochs: Sequence[Epoch], name: str, recipe: Recipe) -> str:
    """Names what usually helps against underfitting, by what the curve looks like."""
    stage, end = recipe.stages.get(name), epochs[-1]
    if abs(epochs[0].loss - end.loss) < LEAST:
        return f"the loss of {name} does not move, so raise {_now(recipe, name, 'learning_rate')}"
    if end.gap <= -GAP / 2:
        return (
            f"weaken augmentation.preset (now {recipe.augmentation.preset}) or head.dropout "
            f"(now {show(recipe.head.dropout)}), which hold training back"
        )
    more = "" if stage and stage.unfreeze == "all" else f"{_now(recipe, name, 'unfreeze')}, or "
    return f"train {more}a larger backbone, or at a larger data.image_size"


def _mixes(recipe: Recipe) -> bool:
    return bool(recipe.augmentation.mixup or recipe.augmentation.cutmix)


def _now(recipe: Recipe, stage_name: str, setting: str) -> str:
    """Names a setting of a stage, and says what it is."""
    path, stage = f"stages.{stage_name}.{setting}", recipe.stages.get(stage_name)
    return f"{path} (now {show(getattr(stage, setting))})" if stage else path
