"""The card of an export: what it is, how good, where it ends. Standard library only."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from app.errors import ExportError
from app.files import write_whole

EXTRA = "assets.extra"  # where TensorFlow Serving leaves files alone
CARD, MARKDOWN, RECIPE = (f"{EXTRA}/{name}" for name in ("card.json", "card.md", "recipe.json"))
# A class of fewer test images has an interval too wide to say much.
FEW_IMAGES = 30
_MEANS_SOMETHING = re.compile(r"([\\`*_\[\]<>#|&~])")
Card = Mapping[str, Any]


def write_card(folder: Path, card: Card) -> None:
    """Writes a card into an export, as JSON and as Markdown, and the recipe on its own."""
    (folder / EXTRA).mkdir(exist_ok=True)
    for name, what in {CARD: card, RECIPE: card["recipe"]}.items():
        write_whole(
            folder / name, json.dumps(what, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
        )
    write_whole(folder / MARKDOWN, "\n".join(to_markdown(card)) + "\n")


def read_card(version: Path) -> dict[str, Any]:
    """Reads the card of an export.

    Raises:
        ExportError: If there is none, or it is damaged.
    """
    try:
        card: dict[str, Any] = json.loads((version / CARD).read_text("utf-8"))
    except FileNotFoundError as error:
        raise ExportError(
            f"{version} is a SavedModel without {CARD}: none that this graft exported"
        ) from error
    except (OSError, ValueError, RecursionError) as error:
        raise ExportError(f"{version / CARD} cannot be read: {error}") from error
    return card


def whole_card(card: Card, version: Path) -> list[str]:
    """Returns the lines of a card, and its signatures.

    Raises:
        ExportError: If it is not as `write_card` wrote it.
    """
    try:
        lines = [*to_markdown(card), "", "## Signatures", ""]
        for name, signature in card["signatures"].items():
            takes, gives = (", ".join(signature[key]) for key in ("inputs", "outputs"))
            lines.append(f"- {name}: {takes} -> {gives}")
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise ExportError(
            f"{version / CARD} is damaged ({type(error).__name__}: {error}): export the run again"
        ) from error
    return lines


def plain(name: str) -> str:
    """Writes a name so that it is nothing but text in a line of Markdown, and on a terminal."""
    shown = "".join(each if each.isprintable() else " " for each in name)
    return _MEANS_SOMETHING.sub(r"\\\1", shown)


def limits(card: Card) -> list[str]:
    """Says where an export ends, in sentences that follow from its numbers."""
    measured, side = card["metrics"]["test"], card["image_size"]
    said = [
        f"It was measured on {measured['count']} images of the same source as those that it"
        " learned from: other cameras, places and times may be harder for it.",
        f"It sees an image as a square of {side} pixels: what is smaller than one of those is"
        " lost to it.",
    ]
    if not card["many_labels"]:
        said.append("Whatever an image shows, it answers with one of its classes.")
    scores = measured["classes"]
    hardest = min(scores, key=lambda name: scores[name]["f1"])
    said.append(
        f"It is worst at {plain(hardest)}: precision {scores[hardest]['precision']:.2f}, recall"
        f" {scores[hardest]['recall']:.2f}."
    )
    few = [name for name, each in scores.items() if each["count"] < FEW_IMAGES]
    if few:
        said.append(
            f"Of {_listed(few)} there were fewer than {FEW_IMAGES} test images: what is said of"
            " them may be luck."
        )
    if not card["parity"]:
        said.append("Nothing proves that it answers as the model did that was measured.")
    return said


def _listed(names: Sequence[str], most: int = 5) -> str:
    shown = ", ".join(map(plain, names[:most]))
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"


def to_markdown(card: Card) -> Iterator[str]:
    """Yields the lines of a card."""
    yield from (f"# {card['name']}, version {card['version']}", "")
    kind = "any of" if card["many_labels"] else "one of"
    yield f"Names what an image shows: {kind} {_listed(card['class_names'], 20)}."
    yield from ("", "## How good it is", "")
    yield from _metrics(card)
    yield from ("", "## How far to believe its probabilities", "")
    yield from _calibration(card)
    yield from ("", "## Whether it is what was measured", "")
    yield from _parity(card["parity"])
    yield from ("", "## Limits", "", *(f"- {each}" for each in card["limits"]))
    yield from ("", "## Data", "")
    images = ", ".join(f"{count} {split}" for split, count in card["data"]["images"].items())
    yield f"{images} images; fingerprint `{card['data']['fingerprint']}`."
    yield from ("", "## Weights", "")
    yield f"Backbone {card['backbone']} at {card['image_size']} pixels, weights:"
    yield f"{card['weights']['source']}. Licence: {card['licence']}."
    if card["weights"]["sha256"]:
        yield f"SHA-256 of their file: `{card['weights']['sha256']}`."
    yield from ("", "## How to reproduce it", "", *_reproduce(card))


def _metrics(card: Card) -> Iterator[str]:
    what = "all labels right" if card["many_labels"] else "accuracy"
    yield from (f"| images | {what} | 95 % interval |", "|---|---|---|")
    for split, measured in card["metrics"].items():
        of = measured["accuracy"]
        interval = f"{of['low']:.3f} to {of['high']:.3f}"
        yield f"| {measured['count']} {split} | {of['value']:.3f} | {interval} |"
    yield from ("", "| class | precision | recall | F1 | test images |", "|---|---|---|---|---|")
    for name, of in card["metrics"]["test"]["classes"].items():
        scores = " | ".join(f"{of[key]:.2f}" for key in ("precision", "recall", "f1"))
        yield f"| {plain(name)} | {scores} | {of['count']} |"


def _calibration(card: Card) -> Iterator[str]:
    temperature = card["answers"]["temperature"]
    yield "Expected calibration error, the mean distance of confidence and accuracy:"
    yield (
        ", ".join(
            f"{100 * error:.1f} points on {split}"
            for split, error in card["calibration"]["error"].items()
        )
        + "."
    )
    if temperature != 1:
        yield f"Logits are divided by {temperature:g}; without that it was"
        yield (
            ", ".join(
                f"{100 * error:.1f} on {split}"
                for split, error in card["calibration"]["before"].items()
            )
            + "."
        )
    below = card["answers"]["unsure_below"]
    if below is not None:
        yield f"Answers of a probability below {below:g} say `unsure`:"
        for split, of in card["calibration"]["sure"].items():
            yield (
                f"{100 * of['share']:.0f} % of the {split} images are answered without it, with"
                f" an accuracy of {of['accuracy']:.3f}."
            )


def _parity(certificates: Sequence[Card]) -> Iterator[str]:
    if not certificates:
        yield "Not proven: it was exported with `--uncertified`."
        return
    yield f"All formats were asked about {certificates[0]['images']} validation images:"
    yield ""
    yield "| format | largest difference | same answers | accuracy | 95 % interval | MB | ms |"
    yield "|---|---|---|---|---|---|---|"
    for of in certificates:
        accuracy = of["accuracy"]
        yield (
            f"| {of['format']} | {of['largest_difference']:.1e} | {100 * of['agreement']:.1f} % |"
            f" {accuracy['value']:.3f} | {accuracy['low']:.3f} to {accuracy['high']:.3f} |"
            f" {of['bytes'] / 1e6:.1f} | {of['milliseconds']:.1f} |"
        )
    yield ""
    yield "Milliseconds are of one image on the machine that exported: of the SavedModel from the"
    yield "bytes of a file, of the others from pixels."


def _reproduce(card: Card) -> Iterator[str]:
    versions = ", ".join(f"{name} {number}" for name, number in card["versions"].items())
    yield f"Run {card['run']} of the recipe in `{RECIPE}`, with seed {card['seed']},"
    hardware = card["hardware"]
    # Runs of before it was written down have no number of threads.
    threads = f", {hardware['threads']} threads" if "threads" in hardware else ""
    yield f"with {versions}, on {hardware['processors']} processors{threads}."
    yield ""
    yield "    " + card["reproduce"]
