"""Tell handwritten digits apart: the quick start, offline from beginning to end.

    python recipes/digits.py
    python recipes/digits.py --epochs 2 --seed 1

Takes the 1,797 scans that scikit-learn ships, trains in two stages, exports, and asks
the SavedModel. The backbone starts from random weights, so the second stage does the work.
"""

from pathlib import Path

from app import Augmentation, Data, Head, Recipe, Run, Stage, export, main
from app import run as train_and_measure

recipe = Recipe(
    name="digits",
    data=Data(source="sklearn:digits", image_size=32, batch_size=32),
    augmentation=Augmentation("none"),  # a mirrored 2 is no digit
    backbone="compact",
    weights="none",
    head=Head(dropout=0.2),
    stages={
        # The new head alone first: it finds its feet while the features stand still.
        "warm_up": Stage(epochs=2, learning_rate=2e-3),
        # Then everything. Random features have no statistics worth keeping: BatchNorm trains.
        "fine_tune": Stage(
            epochs=6, learning_rate=1e-3, unfreeze="all", schedule="cosine", train_batch_norm=True
        ),
    },
)


def run(recipe: Recipe, directory: Path | None = None) -> Run:
    """Trains as always; then the export, in plain TensorFlow, names a few test images."""
    finished = train_and_measure(recipe, directory)
    exported = export(finished)
    print(f"exported {exported}")

    import tensorflow as tf

    answer = tf.saved_model.load(exported).signatures["serving_default"]
    for path in finished.test_images()[::60]:
        named = answer(image_bytes=tf.constant([path.read_bytes()]))
        sure = float(tf.reduce_max(named["probabilities"]))
        print(f"{path}: {named['label'][0].numpy().decode()} ({sure:.1%})")
    return finished


if __name__ == "__main__":
    main(recipe, run=run)
