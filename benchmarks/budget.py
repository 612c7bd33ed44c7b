"""How well `graft train --minutes` reckons: steps at sizes and depths, timed and predicted.

    python benchmarks/budget.py
    python benchmarks/budget.py --backbone mobilenet_v2_035 --sizes 96,160,224

Timed in processor time. A plan predicts a step at other sizes by a quarter plus three quarters of
the ratio of pixels, and one at other depths in proportion to blocks; all blocks cost more than
that, and are timed themselves where there is time.
"""

import argparse
import time

from measuring import machine, table

from app.backbones.build import build_backbone
from app.backbones.table import find_backbone
from app.budget.costs import FIXED, Depth
from app.budget.steps import Bench
from app.models import build_model
from app.recipe import Recipe, Stage
from app.training import devices
from app.training.losses import Task

LAST = Stage(unfreeze="all", optimizer="adamw", weight_decay=0.05, layer_decay=0.85)


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--backbone", default="mobilenet_v2")
    parser.add_argument("--sizes", default="112,160,224", help="pixels; the last is the measured")
    parser.add_argument("--quick", action="store_true", help="small, to see that it runs")
    asked = parser.parse_args()
    name = "compact" if asked.quick else asked.backbone
    sizes = [32, 64] if asked.quick else [int(size) for size in asked.sizes.split(",")]
    recipe = Recipe(name="budget", backbone=name, weights="none", stages={"last": LAST})
    devices.set_up(recipe)
    found = {size: timed(recipe, size) for size in sizes}
    print(f"{machine()}; {name}, batches of {recipe.data.batch_size}, CPU ms an image\n")
    print(table(["pixels", "blocks", "step", "by its size", "by its blocks"], rows(found)))


def timed(recipe: Recipe, size: int) -> dict[str, Depth]:
    """Times a quarter, a half and all of the blocks."""
    backbone = find_backbone(recipe.backbone)
    base, _ = build_backbone(backbone, size, recipe.weights)
    task = Task((100,) * 5, 500)
    model = build_model(backbone, base, recipe.head, task.class_count, recipe.seed)
    bench = Bench(recipe, model, backbone, task, clock=time.process_time)
    return {name: bench.time(name) for name in ("0.25", "0.5", "all")}


def rows(found: dict[int, dict[str, Depth]]) -> list[list[str]]:
    """Writes each step beside what would be predicted from the largest size, or a quarter."""
    largest = max(found)
    lines = []
    for size, depths in found.items():
        scale = FIXED + (1 - FIXED) * (size / largest) ** 2
        a_block = depths["0.25"].step / depths["0.25"].share
        for name, depth in depths.items():
            seconds = depth.step, found[largest][name].step * scale, a_block * depth.share
            lines.append([str(size), name, *(f"{1000 * each:.2f}" for each in seconds)])
    return lines


if __name__ == "__main__":
    main()
