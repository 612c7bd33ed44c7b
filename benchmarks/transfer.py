"""What transfer brings: `recipes/fine_tune.py` on photographs, from ImageNet weights and from none.

    KERAS_HOME=../shared/material/keras_home python benchmarks/transfer.py

Each row is one run of the recipe with MobileNetV2 at 160 pixels; the published validation
split is the test split. The baseline is the same recipe from random weights, once as it stands
and once with BatchNorm trained, without which a random network learns little.
"""

import argparse
import platform
import tempfile
import time
from datetime import date
from pathlib import Path

from app import Recipe, override, run
from app.recipe_file import load_recipe_file

ROOT = Path(__file__).parent.parent
FLOWERS = ROOT.parent / "shared" / "material" / "datasets" / "flowers"
VARIANTS = {
    "ImageNet weights": {"weights": "imagenet"},
    "random weights": {"weights": "none"},
    "random weights, BatchNorm trained": {"weights": "none", "train_batch_norm": True},
}


def measure(recipe: Recipe) -> str:
    """Runs a recipe and returns its accuracy, interval, and CPU seconds as a row's end."""
    started = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        accuracy = run(recipe, Path(folder) / "run").metrics["test"]["accuracy"]
    seconds = time.process_time() - started
    value, low, high = (accuracy[key] for key in ("value", "low", "high"))
    return f"{value:.3f} | {low:.3f} to {high:.3f} | {seconds:.0f}"


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--source", default=str(FLOWERS), help="a folder of images")
    parser.add_argument("--seeds", type=int, default=3, help="runs from ImageNet weights")
    asked = parser.parse_args()
    recipe = override(
        load_recipe_file(ROOT / "recipes" / "fine_tune.py").recipe,
        {"data.source": asked.source, "backbone": "mobilenet_v2", "image_size": 160},
    )
    print(f"{date.today()}, {platform.machine()}, Python {platform.python_version()}\n")
    print("| weights | seed | test accuracy | 95 % interval | CPU seconds |\n|---|---|---|---|---|")
    for name, changes in VARIANTS.items():
        for seed in range(asked.seeds if changes["weights"] == "imagenet" else 1):
            row = measure(override(recipe, {**changes, "seed": seed}))
            print(f"| {name} | {seed} | {row} |", flush=True)


if __name__ == "__main__":
    main()
