"""Names what images show, the way Keras's guides do: `image_dataset_from_directory`, `predict`.

python benchmarks/baselines/predicting.py model.keras photos answers.csv
"""

import argparse
import csv
from pathlib import Path


def main() -> None:
    """Writes a row an image: its file, and the probability of each class."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path, help="from pixels of 0 to 255 to logits")
    parser.add_argument("images", type=Path, help="a folder")
    parser.add_argument("output", type=Path, help="a CSV file")
    asked = parser.parse_args()
    import keras

    model = keras.models.load_model(asked.model)
    images = keras.utils.image_dataset_from_directory(
        asked.images, labels=None, shuffle=False, image_size=model.input.shape[1:3], verbose=False
    )
    shares = keras.ops.softmax(model.predict(images, verbose=0))
    with asked.output.open("w", newline="") as file:
        writer = csv.writer(file)
        for path, row in zip(images.file_paths, shares.numpy(), strict=True):
            writer.writerow([path, *row])


if __name__ == "__main__":
    main()
