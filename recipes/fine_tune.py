"""Fine-tune the upper half of a network on whatever a folder of images shows.

    graft train recipes/fine_tune.py --data.source ~/photos
    graft train recipes/fine_tune.py --data.source ~/photos --minutes 10

For more images, or more time, than recipes/folder.py needs. Measured with `--image_size 160` on
600 photographs of five flowers: accuracy 0.867 (0.813 to 0.920) on 150 others, 68 CPU seconds on
2 cores. See benchmarks/RESULTS.md.
"""

from app import Augmentation, Data, Head, Recipe, Stage, main

recipe = Recipe(
    name="fine_tune",
    data=Data(batch_size=32, validation_fraction=0.1),
    augmentation=Augmentation("light"),
    backbone="mobilenet_v2",
    head=Head(dropout=0.1),
    stages={
        # The new head alone first: its random weights would spoil the backbone.
        "warm_up": Stage(epochs=4, learning_rate=3e-3, schedule="cosine", label_smoothing=0.1),
        # Then the upper half, each block more gently than the one above it. What the lower half
        # makes of an image stays the same, and is computed once.
        "fine_tune": Stage(
            epochs=8,
            learning_rate=1e-3,
            unfreeze="0.5",
            layer_decay=0.85,
            optimizer="adamw",
            weight_decay=0.05,
            schedule="cosine",
            warmup_epochs="25%",
            label_smoothing=0.1,
            keep="last",
        ),
    },
)

if __name__ == "__main__":
    main(recipe)
