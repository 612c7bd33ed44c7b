"""A strong fine-tuning written by hand: what a careful person does without a library for it.

    python benchmarks/baselines/strong.py --train DIR --test DIR --weights FILE.h5 --alpha 0.35

The head comes from logistic regression on frozen features. Then everything but BatchNorm
(statistics, gamma and beta) is trained: AdamW with decay on kernels only, the rate falling by 0.85
a block from the head down (layer-wise decay, arXiv 1801.06146 and 2106.08254), a warm-up and a
cosine, random resized crops (arXiv 1409.4842) with mirror images, label smoothing (arXiv
1512.00567). The photographs are decoded once and kept in memory, as uint8.
"""

import os
import re

import shared

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # its threads wait for one another
PEAK, FALL, DECAY, WARM_UP, SMOOTHING = 1e-3, 0.85, 0.05, 0.25, 0.1
LARGER = 1.3  # images are kept at this multiple of the side that is cut out of them
BLOCKS = 17  # block_1 to block_16 of MobileNetV2, and the one it calls expanded


def main() -> None:
    """Trains, measures, and prints one line of JSON."""
    parser = shared.parser(__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=10, help="with all unfrozen")
    asked = parser.parse_args()

    with shared.phase("import"):
        import keras
        import numpy as np
        import tensorflow as tf
        from sklearn.linear_model import LogisticRegression

    class LayerDecayed(keras.optimizers.Adam):
        """AdamW whose rate and decay have a factor for each variable."""

        def start(self, variables, factors, decays) -> None:
            """Takes what belongs to each of the variables that will be trained."""
            self.build(variables)
            self.factors, self.decays = factors, decays

        def update_step(self, gradient, variable, learning_rate) -> None:
            """Decays a variable, then moves it as Adam does."""
            number = self._get_variable_index(variable)
            rate = keras.ops.cast(learning_rate, variable.dtype) * self.factors[number]
            if self.decays[number]:
                self.assign_sub(variable, variable * rate * self.decays[number])
            super().update_step(gradient, variable, rate)

    size = asked.image_size
    with shared.phase("read"):
        keras.utils.set_random_seed(asked.seed)
        opened = shared.images(asked.train, asked, shuffle=False, size=round(LARGER * size))
        batches = [(tf.cast(tf.round(x), tf.uint8), y) for x, y in opened]
        kept, labels = (tf.concat(column, 0) for column in zip(*batches, strict=True))
        del batches
        count, classes = len(labels), len(opened.class_names)
    with shared.phase("head"):
        base = shared.backbone(asked)
        pixels = keras.Input((size, size, 3))
        scaled = keras.layers.Rescaling(1 / 127.5, offset=-1)(pixels)
        pooled = keras.layers.GlobalAveragePooling2D()(base(scaled, training=False))
        classify = keras.layers.Dense(classes)
        model = keras.Model(pixels, classify(keras.layers.Dropout(0.1)(pooled)))
        whole = tf.data.Dataset.from_tensor_slices(kept).batch(asked.batch_size)
        whole = whole.map(lambda x: tf.image.resize(tf.cast(x, tf.float32), (size, size)))
        features = keras.Model(pixels, pooled).predict(whole, verbose=0)
        found = LogisticRegression(C=0.1, max_iter=1000).fit(features, labels)
        kernel, bias = found.coef_.T, found.intercept_
        if classes == 2:  # one logit there, two here
            kernel, bias = np.hstack([-kernel, kernel]) / 2, np.hstack([-bias, bias]) / 2
        classify.set_weights([kernel, bias])

    def crop(chosen):
        """Cuts 0.6 to 1 of the area out of each image, every other one mirrored."""
        n = tf.shape(chosen)[0]
        area, aspect = tf.random.uniform([n], 0.6, 1.0), tf.random.uniform([n], 0.75, 1 / 0.75)
        height = tf.minimum(tf.sqrt(area / aspect), 1.0)
        width = tf.minimum(tf.sqrt(area * aspect), 1.0)
        top = tf.random.uniform([n]) * (1 - height)
        left = tf.random.uniform([n]) * (1 - width)
        sides = tf.stack([left, left + width], 1)
        sides = tf.where(tf.random.uniform([n, 1]) < 0.5, sides, sides[:, ::-1])
        boxes = tf.stack([top, sides[:, 0], top + height, sides[:, 1]], 1)
        cut = tf.image.crop_and_resize(tf.gather(kept, chosen), boxes, tf.range(n), (size, size))
        return cut, tf.one_hot(tf.gather(labels, chosen), classes)

    with shared.phase("fine_tune"):
        for layer in base.layers:
            layer.trainable = not isinstance(layer, keras.layers.BatchNormalization)
        steps = asked.epochs * -(-count // asked.batch_size)
        optimizer = LayerDecayed(
            keras.optimizers.schedules.CosineDecay(
                0.0,
                steps - int(WARM_UP * steps),
                warmup_target=PEAK,
                warmup_steps=max(int(WARM_UP * steps), 1),
            )
        )
        depths = {
            id(v): depth_of(layer.name) for layer in base.layers for v in layer.trainable_variables
        }
        variables = model.trainable_variables
        optimizer.start(
            variables,
            [FALL ** depths.get(id(v), 0) for v in variables],
            [DECAY if v.name == "kernel" else 0.0 for v in variables],
        )
        model.compile(
            optimizer,
            keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=SMOOTHING),
        )
        order = tf.data.Dataset.range(count).shuffle(count, asked.seed).batch(asked.batch_size)
        train = order.map(crop, tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)
        model.fit(train, epochs=asked.epochs, verbose=0)
    with shared.phase("test"):
        test = shared.images(asked.test, asked, shuffle=False)
        true = [int(label) for _, batch in test for label in batch]
        answers = model.predict(test, verbose=0).argmax(axis=1)
    shared.report(asked, test.file_paths, answers == true)


def depth_of(layer: str) -> int:
    """How many blocks below the head a layer of MobileNetV2 lies; its last convolution is at 1."""
    if layer == "Conv_1":
        return 1
    found = re.match(r"block_(\d+)_", layer)
    if found:
        return 2 + BLOCKS - 1 - int(found[1])
    return 2 + BLOCKS - 1 if layer.startswith("expanded") else 2 + BLOCKS


if __name__ == "__main__":
    main()
