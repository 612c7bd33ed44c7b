"""The picture of a learning-rate range test."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from app.files import whole_file
from app.training.finder import KEPT, LOWEST, Found

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Told apart by everyone: M. Okabe and K. Ito, "Color Universal Design" (2008).
_BLUE, _VERMILION, _GREY = "#0072B2", "#D55E00", "#999999"


def plot(found: Found, path: Path, title: str) -> None:
    """Draws the loss over the learning rate, and marks the suggestion.

    Args:
        found: What a range test saw.
        path: Of the PNG to write, 1200 x 750 pixels.
        title: Stands above it.
    """
    # Not above: training needs no pictures, and matplotlib takes long to import.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5), dpi=150, layout="constrained")
    axes = figure.add_subplot()
    axes.plot(found.rates, found.losses, ".", color=_GREY, label="each batch")
    axes.plot(found.rates, found.smoothed, color=_BLUE, linewidth=2.5, label="all batches")
    _mark(axes, found)
    axes.set(xscale="log", ylim=_limits(found), xlabel="learning rate", ylabel="training loss")
    axes.set_title(title, loc="left", fontsize=13)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="#e6e6e6")
    axes.set_axisbelow(True)
    axes.legend(frameon=False, loc="lower left")
    with whole_file(path) as temporary:
        figure.savefig(temporary)


def _mark(axes: Axes, found: Found) -> None:
    """Says where on the curve the suggestion lies, and what it is."""
    height = np.interp(found.suggestion, found.rates, found.smoothed)
    axes.axvline(found.suggestion, color=_VERMILION, linestyle="--", linewidth=1.2)
    axes.plot(found.suggestion, height, "o", color=_VERMILION, markersize=9)
    on_the_left = found.suggestion > 100 * LOWEST  # else there is no room
    axes.annotate(
        f"suggested: {found.suggestion:g}",
        (found.suggestion, height),
        xytext=(-12 if on_the_left else 12, 0),
        textcoords="offset points",
        ha="right" if on_the_left else "left",
        va="center",
        color=_VERMILION,
        fontsize=12,
        fontweight="bold",
        bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1},
    )


def _limits(found: Found) -> tuple[float, float]:
    """Leaves out how high the loss gets once it diverges: the fall would look flat."""
    first, lowest = found.smoothed[0], min(found.smoothed)
    high = max(max(found.losses[:KEPT]), first + (first - lowest) / 3)
    low = min(min(found.losses), lowest)
    return low - (high - low) / 20, high + (high - low) / 20
