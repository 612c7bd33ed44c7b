"""The recipe that the benchmarks train: one stage, as close to Keras's guide as recipes come."""

from app import Augmentation, Data, Head, Recipe, Stage, main

recipe = Recipe(
    name="one_stage",
    data=Data(batch_size=32),
    augmentation=Augmentation("light"),
    backbone="mobilenet_v2",
    head=Head(dropout=0.2),
    stages={"train": Stage(epochs=10, learning_rate=1e-3)},
)

if __name__ == "__main__":
    main(recipe)
