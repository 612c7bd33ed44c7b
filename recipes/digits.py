"""Tell handwritten digits apart with 18 labels of each: the quick start, offline to the end.

    python recipes/digits.py
    python recipes/digits.py --epochs 2 --seed 1

Learns from a tenth of the 1,797 scans that scikit-learn ships, in two stages, beginning with the
weights that graft ships; exports, asks the SavedModel; and trains once more from random weights, to
tell what transfer is worth.
"""

from dataclasses import replace
from pathlib import Path

from app import Augmentation, Data, Head, Recipe, Run, Stage, export, main
from app import run as train_and_measure

recipe = Recipe(
    name="digits",
    data=Data(
        source="sklearn:digits",
        image_size=32,
        batch_size=16,
        validation_fraction=0.1,
        test_fraction=0.8,
    ),
    augmentation=Augmentation("none"),  # a mirrored 2 is no digit
    backbone="embedded",
    head=Head(dropout=0.2),
    stages={
        # The new head alone first: its random weights would spoil the backbone's.
        "warm_up": Stage(epochs=6, learning_rate=2e-3),
        # Then everything. Scans are unlike what the backbone saw before: BatchNorm trains, too.
        "fine_tune": Stage(
            epochs=5, learning_rate=5e-4, unfreeze="all", schedule="cosine", train_batch_norm=True
        ),
    },
)


def run(recipe: Recipe, directory: Path | None = None) -> Run:
    """Trains as always, and again from random weights; the export names a few test images."""
    finished = train_and_measure(recipe, directory)
    exported = export(finished)
    print(f"exported {exported}")
    scratch = train_and_measure(replace(recipe, name=f"{recipe.name}_from_scratch", weights="none"))

    import tensorflow as tf

    answer = tf.saved_model.load(exported).signatures["serving_default"]
    for path in finished.test_images()[::300]:
        named = answer(image_bytes=tf.constant([path.read_bytes()]))
        sure = float(tf.reduce_max(named["probabilities"]))
        print(f"{path}: {named['label'][0].numpy().decode()} ({sure:.1%})")
    reached = [f"{each.metrics['test']['accuracy']['value']:.3f}" for each in (finished, scratch)]
    print(f"test accuracy {reached[0]}; the same from random weights: {reached[1]}")
    return finished


if __name__ == "__main__":
    main(recipe, run=run)
