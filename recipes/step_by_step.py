"""The usual story told step by step, in plain Keras: change any line of it.

    python recipes/step_by_step.py
    python recipes/step_by_step.py --all.epochs 8

The same data, model and stages as a recipe's; callbacks and loops are yours.
"""

from pathlib import Path

from app import Augmentation, Data, Recipe, Run, Stage, evaluate, load_steps, main

recipe = Recipe(
    name="step_by_step",
    data=Data(source="sklearn:digits", image_size=32, batch_size=32),
    augmentation=Augmentation("none"),
    backbone="compact",
    weights="none",
    stages={
        "head": Stage(epochs=2, learning_rate=1e-2),
        "all": Stage(epochs=5, learning_rate=2e-3, unfreeze="all", train_batch_norm=True),
    },
)


def run(recipe: Recipe, directory: Path | None = None) -> Run:
    """Trains with `fit`, and leaves a run that can be evaluated and exported."""
    steps = load_steps()  # and TensorFlow, now that the settings are known to be right
    steps.set_up(recipe)
    data, batch, seed = recipe.data, recipe.data.batch_size, recipe.seed
    backbone = steps.find_backbone(recipe.backbone)
    size = data.image_size or backbone.image_size
    # 1. Every image is looked at, hashed, and given to a split.
    found = steps.list_images(data.source)
    index = steps.build_index(found, data.validation_fraction, data.test_fraction, seed)
    task = steps.task_of(index)
    # 2. A backbone without its head, and a fresh head on it: pixels in, logits out.
    base, weights = steps.build_backbone(backbone, size, recipe.weights)
    model = steps.build_classifier(recipe, backbone, base, task)
    started = steps.new_run(recipe, directory)
    # 3. Batches: varied ones to train on, and images as they are to watch.
    vary = steps.Augmenter(recipe.augmentation, size, seed)
    mixing = steps.Mixing(recipe.augmentation, seed)
    kept = steps.KeptImages([*index.split("validation"), *index.split("train")], size)
    watched = steps.measuring_batches(index, index.split("validation"), size, batch, kept=kept)
    per_epoch = steps.steps_per_epoch(len(index.split("train")), batch)
    # 4. Stages: unfreeze, compile anew, fit.
    for name, stage in recipe.stages.items():
        steps.unfreeze(model, backbone, stage.unfreeze, stage.train_batch_norm)
        steps.compile_for(model, backbone, stage, task, per_epoch)
        model.fit(
            steps.training_batches(
                index, vary, size, batch, seed, 0, stage.epochs, mixing=mixing, kept=kept
            ),
            steps_per_epoch=per_epoch,
            epochs=stage.epochs,
            validation_data=watched,
            callbacks=[steps.Progress(name, stage.epochs, per_epoch)],
            shuffle=False,
            verbose=0,
        )
    # 5. What was learned is written, and measured on the images kept apart.
    steps.record(started, index, size, weights)
    steps.save(started, model)
    evaluate(started)
    return started


if __name__ == "__main__":
    main(recipe, run=run)
