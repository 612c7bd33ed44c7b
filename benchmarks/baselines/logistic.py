"""Logistic regression on the pooled features of a frozen MobileNetV2, without augmentation.

    python benchmarks/baselines/logistic.py --train DIR --test DIR --weights FILE.h5 --alpha 0.35

Each image goes through `model.predict` once; scikit-learn does the rest.
"""

import os

import shared

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # its threads wait for one another


def main() -> None:
    """Fits, measures, and prints one line of JSON."""
    parser = shared.parser(__doc__.splitlines()[0])
    parser.add_argument("--c", type=float, default=1.0, help="inverse of the L2 penalty")
    asked = parser.parse_args()

    with shared.phase("import"):
        import keras
        import numpy as np
        from sklearn.linear_model import LogisticRegression
    with shared.phase("features"):
        keras.utils.set_random_seed(asked.seed)
        base = shared.backbone(asked)
        pixels = keras.Input((asked.image_size, asked.image_size, 3))
        scaled = keras.layers.Rescaling(1 / 127.5, offset=-1)(pixels)
        pooled = keras.layers.GlobalAveragePooling2D()(base(scaled, training=False))
        extractor = keras.Model(pixels, pooled)
        train, test = (
            shared.images(each, asked, shuffle=False) for each in (asked.train, asked.test)
        )

        def parts(batches):
            rows = [(extractor.predict_on_batch(x), y.numpy()) for x, y in batches]
            return [np.concatenate(column) for column in zip(*rows, strict=True)]

        (features, labels), (test_features, test_labels) = parts(train), parts(test)
    with shared.phase("fit"):
        classifier = LogisticRegression(C=asked.c, max_iter=1000).fit(features, labels)
        right = classifier.predict(test_features) == test_labels
    shared.report(asked, test.file_paths, right)


if __name__ == "__main__":
    main()
