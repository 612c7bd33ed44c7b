"""Transfer learning as Keras's own guide does it, at its defaults.

    python benchmarks/baselines/guide.py --train DIR --test DIR --weights FILE.h5 --alpha 0.35

Source: https://keras.io/guides/transfer_learning, with `image_dataset_from_directory`, which the
guide advises for images of one's own, and a softmax where its example has two classes. The head
is trained under the frozen base with Adam as it comes; then all of it with Adam at 1e-5, the base
still called with `training=False`. Every epoch reads and varies the images anew. The guide of
2023 and later ends its pipeline in `cache()`, behind the augmentation: `--cache` does that.
"""

import shared


def main() -> None:
    """Trains, measures, and prints one line of JSON."""
    parser = shared.parser(__doc__.splitlines()[0])
    parser.add_argument("--validation", help="a folder to measure after each epoch")
    parser.add_argument("--epochs", type=int, default=10, help="with the base frozen")
    parser.add_argument("--fine-tune-epochs", type=int, default=0, help="with all unfrozen")
    parser.add_argument("--cache", action="store_true", help="keep the varied batches in memory")
    asked = parser.parse_args()

    with shared.phase("import"):
        import keras
        import tensorflow as tf
    with shared.phase("build"):
        keras.utils.set_random_seed(asked.seed)
        # Within a batch the images are varied one by one.
        varied = [keras.layers.RandomFlip("horizontal"), keras.layers.RandomRotation(0.1)]

        def vary(pixels, labels):
            for layer in varied:
                pixels = layer(pixels)
            return pixels, labels

        def ready(batches):
            batches = batches.prefetch(tf.data.AUTOTUNE)
            return batches.cache() if asked.cache else batches

        opened = shared.images(asked.train, asked, seed=asked.seed)
        classes = len(opened.class_names)
        train = ready(opened.map(vary))
        given = asked.validation
        validation = ready(shared.images(given, asked, shuffle=False)) if given else None
        base = shared.backbone(asked)
        base.trainable = False
        pixels = keras.Input((asked.image_size, asked.image_size, 3))
        scaled = keras.layers.Rescaling(1 / 127.5, offset=-1)(pixels)
        pooled = keras.layers.GlobalAveragePooling2D()(base(scaled, training=False))
        logits = keras.layers.Dense(classes)(keras.layers.Dropout(0.2)(pooled))
        model = keras.Model(pixels, logits)

    def fit(optimizer, epochs):
        model.compile(
            optimizer=optimizer,
            loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            metrics=["accuracy"],
        )
        model.fit(train, epochs=epochs, validation_data=validation, verbose=0)

    with shared.phase("head"):
        fit(keras.optimizers.Adam(), asked.epochs)
    if asked.fine_tune_epochs:
        with shared.phase("fine_tune"):
            base.trainable = True
            fit(keras.optimizers.Adam(1e-5), asked.fine_tune_epochs)
    with shared.phase("test"):
        test = shared.images(asked.test, asked, shuffle=False)
        labels = [int(label) for _, batch in test for label in batch]
        answers = model.predict(test, verbose=0).argmax(axis=1)
    shared.report(asked, test.file_paths, answers == labels)


if __name__ == "__main__":
    main()
