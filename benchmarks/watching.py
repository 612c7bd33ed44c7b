"""What watching a training costs: an epoch with `Watch` and the optimizer's notes, against without.

    python benchmarks/watching.py

The baseline is the same epoch of the same network without both; the two take turns in one
process. The goal is a ratio of at most 1.02.
"""

import argparse
import platform
import statistics
import tempfile
import time
from datetime import date
from pathlib import Path

from app import Head, Stage
from app.verbs import load


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9, help="epochs of each kind")
    parser.add_argument("--steps", type=int, default=30, help="batches an epoch")
    asked = parser.parse_args()
    print(f"{date.today()}, {platform.machine()}, Python {platform.python_version()}\n")
    print("| network | trained | with / without, median | least | most |\n|---|---|---|---|---|")
    for name, unfreeze in (("mobilenet_v2", "head"), ("mobilenet_v2", "all"), ("compact", "all")):
        ratios = measure(name, unfreeze, asked.rounds, asked.steps)
        row = f"{statistics.median(ratios):.3f} | {min(ratios):.3f} | {max(ratios):.3f}"
        print(f"| {name} | {unfreeze} | {row} |", flush=True)


def measure(name: str, unfreeze: str, rounds: int, steps: int) -> list[float]:
    """Returns the ratio of each pair of epochs, the first pair, which traces, left out."""
    with tempfile.TemporaryDirectory() as folder:
        epochs = [epoch_of(name, unfreeze, steps, watch, Path(folder)) for watch in (True, False)]
        ratios = []
        for number in range(rounds + 1):
            order = epochs if number % 2 else epochs[::-1]
            seconds = {id(epoch): epoch() for epoch in order}
            ratios.append(seconds[id(epochs[0])] / seconds[id(epochs[1])])
    return ratios[1:]


def epoch_of(name: str, unfreeze: str, steps: int, watched: bool, folder: Path):
    """Returns what trains one epoch and returns the CPU seconds that it took."""
    import keras
    import numpy as np

    steps_of = load("app.steps")
    watching, callbacks = load("app.training.watching"), load("app.training.callbacks")
    losses = load("app.training.losses")
    backbone = steps_of.find_backbone(name)
    base, _ = steps_of.build_backbone(backbone, 96, "none")
    model = steps_of.build_model(backbone, base, Head(), 5, 0)
    stage = Stage(unfreeze=unfreeze)
    steps_of.unfreeze(model, backbone, unfreeze)
    steps_of.compile_for(model, backbone, stage, losses.Task((100,) * 5, 500), steps)
    model.optimizer.build(model.trainable_variables)
    model.optimizer._records = watched
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (32, 96, 96, 3), "uint8")
    labels = random.integers(0, 5, 32)
    data = load("tensorflow").data.Dataset.from_tensors((pixels, labels)).repeat()
    history = callbacks.History(folder / f"{watched}.csv")
    watch = watching.Watch(folder / "tensorboard", history, pixels[:16])

    def epoch() -> float:
        began = time.process_time()
        model.fit(
            data,
            steps_per_epoch=steps,
            validation_data=data.take(1),
            callbacks=[history, watch] if watched else [history],
            verbose=0,
        )
        return time.process_time() - began

    keras.utils.set_random_seed(0)
    return epoch


if __name__ == "__main__":
    main()
