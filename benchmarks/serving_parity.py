"""Whether a server answers as the Keras model did: over HTTP, over gRPC, on many photographs.

    python benchmarks/serving_parity.py RUN EXPORT IMAGES --count 500

Every photograph goes through Keras's model of the run, through REST as base64, through `/classify`
as it is, and through gRPC. The goals: identical classes, and probabilities within 1e-5.
"""

from __future__ import annotations

import argparse
import base64
import http.client
import json
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from clients import Started, serving
from measuring import machine, table

Answer = Callable[[bytes], dict[str, float]]


def keras_answers(run: Path, images: list[Path]) -> Iterator[dict[str, float]]:
    """Yields what the model of a run says of each image."""
    import tensorflow as tf

    from app.data.reading import read_image
    from app.models import probabilities
    from app.run_directory import open_finished_run
    from app.runs import load_model

    finished = open_finished_run(run)
    model, names = load_model(finished), finished.manifest["class_names"]
    size = int(model.input.shape[1])
    for image in images:
        pixels = read_image(tf.constant(image.read_bytes()), size)[None]
        shares = probabilities(model(pixels, training=False)).numpy()[0]
        yield dict(zip(names, shares.tolist(), strict=True))


def over_http(server: Started) -> tuple[Answer, Answer]:
    """Returns who asks with base64 in JSON, and who asks with the file as it is."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port)

    def post(path: str, body: bytes) -> dict[str, object]:
        connection.request("POST", path, body)
        found: dict[str, object] = json.loads(connection.getresponse().read())
        return found

    def rest(contents: bytes) -> dict[str, float]:
        row = {"b64": base64.b64encode(contents).decode()}
        (said,) = post("/v1/models/model:predict", json.dumps({"instances": [row]}).encode())[
            "predictions"
        ]
        return dict(zip(said["classes"], said["probabilities"], strict=True))

    def plain(contents: bytes) -> dict[str, float]:
        classes = post("/classify", contents)["classes"]
        return {each["name"]: each["probability"] for each in classes}

    return rest, plain


def over_grpc(server: Started) -> Answer:
    """Returns who asks as a client of TensorFlow Serving does."""
    import grpc
    import tensorflow as tf
    from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

    channel = grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}")
    stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)

    def ask(contents: bytes) -> dict[str, float]:
        request = predict_pb2.PredictRequest()
        request.model_spec.name = "model"
        request.inputs["image_bytes"].CopyFrom(tf.make_tensor_proto([contents]))
        said = stub.Predict(request).outputs
        names = tf.make_ndarray(said["classes"])[0]
        shares = tf.make_ndarray(said["probabilities"])[0]
        return {name.decode(): float(share) for name, share in zip(names, shares, strict=True)}

    return ask


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("run", type=Path, help="the run that was exported")
    parser.add_argument("export", type=Path, help="a version of its export")
    parser.add_argument("images", type=Path, help="a folder of photographs")
    parser.add_argument("--count", type=int, default=500, help="how many; 500 if left out")
    asked = parser.parse_args()
    files = sorted(each for each in asked.images.rglob("*") if each.suffix.lower() == ".jpg")
    chosen = [files[at] for at in np.linspace(0, len(files) - 1, asked.count).astype(int)]
    wanted = list(keras_answers(asked.run, chosen))
    rows = []
    with (
        tempfile.TemporaryDirectory() as temporary,
        serving(named(asked.export, temporary)) as server,
    ):
        rest, plain = over_http(server)
        ways = {"REST, base64": rest, "POST /classify": plain, "gRPC": over_grpc(server)}
        for way, ask in ways.items():
            found = [ask(image.read_bytes()) for image in chosen]
            pairs = list(zip(wanted, found, strict=True))
            same = sum(max(one, key=one.get) == max(two, key=two.get) for one, two in pairs)
            apart = max(abs(one[name] - two[name]) for one, two in pairs for name in one)
            rows.append((way, f"{same} of {len(pairs)}", f"{apart:.1e}"))
    print(f"{machine()}\n\n" + table(("way", "same class as Keras", "largest difference"), rows))


def named(export: Path, temporary: str) -> Path:
    """Returns a version in a folder named `model` that leads to the versions of an export."""
    folder = Path(temporary) / "model"
    folder.symlink_to(export.absolute().parent)
    return folder / export.name


if __name__ == "__main__":
    main()
