"""The forward pass of a frozen backbone: against `model.predict`, ONNX Runtime, and GEMM's peak.

    python benchmarks/forward.py
    python benchmarks/forward.py --quick

MobileNetV2 and ResNet50 at 224 pixels with random weights, which cost as much as any. All
that is compared takes turns in one process, of which there is one for one thread and one for
as many as there are cores. `model.predict` is called as it stands, with batches of 32; graft
takes batches of 8, several at once if there are several threads. The share of the peak is
that of a float32 matrix product in the same process.

ONNX Runtime is measured where `onnxruntime`, `onnx` and `tf2onnx` can be imported. To keep
them out of the environment: `python -m pip install --no-deps --target FOLDER onnxruntime onnx
tf2onnx flatbuffers`, then `PYTHONPATH=FOLDER python benchmarks/forward.py`.
"""

import argparse
import math
import os
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from measuring import alternate, goal, machine, measure, ratios, spread, table

from app.verbs import load

SIZE = 224
SHARES = {"MobileNetV2": "at least 45 %", "ResNet50": "at least 85 %"}
KINDS = ("CPU", "wall")


def main() -> None:
    """Prints the tables, one for each number of threads."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15, help="turns of each method")
    parser.add_argument("--images", type=int, default=64, help="in a turn")
    parser.add_argument("--batch", type=int, default=8, help="images in a batch of graft's")
    parser.add_argument("--quick", action="store_true", help="few images, to see that it runs")
    parser.add_argument("--threads", type=int, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.quick:
        asked.rounds, asked.images = 3, 16
    if asked.threads:
        print_figures(asked)
        return
    print(machine())
    for threads in sorted({1, len(os.sched_getaffinity(0))}):
        options = [f"--{name}={getattr(asked, name)}" for name in ("rounds", "images", "batch")]
        command = [sys.executable, __file__, f"--threads={threads}", *options]
        print(f"\nThreads: {threads}\n\n{measure(command).output}", flush=True)


def print_figures(asked: argparse.Namespace) -> None:
    """Measures in this process, which has done nothing with TensorFlow yet."""
    threading = load("tensorflow").config.threading
    threading.set_intra_op_parallelism_threads(asked.threads)
    threading.set_inter_op_parallelism_threads(asked.threads)
    rows, goals = [], []
    for network, wanted in SHARES.items():
        calls, flops = calls_of(network, asked)
        for call in calls.values():
            call()  # traces, optimises and packs weights
        found = alternate({name: timed(call) for name, call in calls.items()}, asked.rounds)
        for name, pairs in found.items():
            unit = 1e3 / asked.images
            each = [[pair[kind] * unit for pair in pairs] for kind in (0, 1)]
            if name != "matrix product":
                rows.append((network, name, *(spread(values, ".2f") for values in each)))
        for kind, said in enumerate(KINDS):
            goals += judged(network, wanted, said, flops, kinds_of(found, kind), asked.images)
    print(table(("network", "method", "CPU ms an image", "wall ms an image"), rows))
    print("\n" + "\n".join(f"- {line}" for line in goals))


def kinds_of(found: dict[str, list[tuple[float, float]]], kind: int) -> dict[str, list[float]]:
    """Picks CPU or wall seconds."""
    return {name: [pair[kind] for pair in pairs] for name, pairs in found.items()}


def judged(
    network: str, wanted: str, kind: str, flops: float, seconds: dict[str, list[float]], images: int
) -> list[str]:
    """Writes what was found of one network beside what was wanted, in CPU or wall seconds."""
    product = 2.0 * side_of(images) ** 3
    peak = [product / each for each in seconds["matrix product"]]
    rates = [flops * images / each for each in seconds["graft"]]
    shares = [100 * share for share in ratios(rates, peak)]
    lines = [f"{network}, {kind}: {goal(shares, wanted)}, % of the peak ({gigas(peak)} GFLOP/s)"]
    for name in seconds:
        if name.startswith("ONNX"):
            ratio = goal(ratios(seconds["graft"], seconds[name]), "at most 1.05")
            lines.append(f"{network}, {kind}: graft / {name}: {ratio}")
    if "model.predict" in seconds:
        ratio = goal(ratios(seconds["model.predict"], seconds["graft"]), "at least 1.4")
        lines.append(f"{network}, {kind}: model.predict / graft: {ratio}")
    return lines


def gigas(values: list[float]) -> str:
    """Writes rates in thousands of millions."""
    return spread([value / 1e9 for value in values], ".0f")


def timed(call: Callable[[], object]) -> Callable[[int], tuple[float, float]]:
    """Returns what calls it and returns CPU and wall seconds."""

    def measured(_: int) -> tuple[float, float]:
        cpu, wall = time.process_time(), time.perf_counter()
        call()
        return time.process_time() - cpu, time.perf_counter() - wall

    return measured


def calls_of(network: str, asked: argparse.Namespace) -> tuple[dict[str, Callable], float]:
    """Makes what is compared, by name, and counts the operations that an image takes."""
    import numpy as np

    model = model_of(network)
    random = np.random.default_rng(0)
    pixels = random.uniform(-1, 1, (asked.images, SIZE, SIZE, 3)).astype("float32")
    starts = range(0, asked.images, asked.batch)
    batches = [pixels[start : start + asked.batch] for start in starts]
    calls = {"graft": graft_of(model, batches, asked.threads), "matrix product": product_of(asked)}
    if network == "MobileNetV2":
        calls["model.predict"] = lambda: model.predict(pixels, verbose=0)
        calls |= onnx_of(model, pixels, batches, asked.threads)
    return calls, flops_of(model)


def model_of(network: str):
    """Builds it with random weights, whose activations die out nowhere."""
    import keras
    import numpy as np

    keras.utils.set_random_seed(0)
    shape = (SIZE, SIZE, 3)
    make = getattr(keras.applications, network)
    model = make(weights=None, include_top=False, pooling="avg", input_shape=shape)
    random = np.random.default_rng(0)
    for variable in model.variables:
        if variable.path.endswith("beta"):
            variable.assign(random.normal(0, 0.3, variable.shape))
    return model


def flops_of(model) -> float:
    """Counts two operations for each product in the convolutions that an image takes."""
    layers = [layer for layer in model.layers if hasattr(layer, "kernel")]
    return sum(2.0 * math.prod((*layer.kernel.shape, *layer.output.shape[1:3])) for layer in layers)


def graft_of(model, batches: list, threads: int) -> Callable[[], object]:
    """Folds the model; as many batches at once as there are threads."""
    import tensorflow as tf

    called = tf.function(lambda pixels: model(pixels, training=False), autograph=False)
    spec = tf.TensorSpec((None, SIZE, SIZE, 3))
    folded = load("app.features.folding").fold(called.get_concrete_function(spec))

    def ask(pixels):
        return folded(tf.convert_to_tensor(pixels))[0].numpy()

    pool = ThreadPoolExecutor(threads)
    return lambda: list(map(ask, batches) if threads == 1 else pool.map(ask, batches))


def product_of(asked: argparse.Namespace) -> Callable[[], object]:
    """Makes a large square matrix product."""
    import tensorflow as tf

    side = side_of(asked.images)
    square = tf.random.normal((side, side))
    multiply = tf.function(lambda: tf.matmul(square, square))
    return lambda: multiply().numpy()


def side_of(images: int) -> int:
    """Returns how large the matrix is: its product takes about as long as the images do."""
    return 4096 if images > 32 else 2048


def onnx_of(model, pixels, batches: list, threads: int) -> dict[str, Callable[[], object]]:
    """Makes the same network in ONNX Runtime, if it is there."""
    import tensorflow as tf

    try:
        import onnxruntime
        import tf2onnx
    except ImportError as error:
        print(f"ONNX Runtime is left out: {error}. The top of this file says how to have it\n")
        return {}
    called = tf.function(lambda pixels: model(pixels, training=False))
    spec = tf.TensorSpec((None, SIZE, SIZE, 3), name="pixels")
    converted, _ = tf2onnx.convert.from_function(called, [spec], opset=17)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    # Threads that wait busily would look worse in CPU seconds than they are.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(
        converted.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )

    def ask(taken) -> object:
        return session.run(None, {"pixels": taken})

    return {
        "ONNX Runtime, the same batches": lambda: [ask(batch) for batch in batches],
        "ONNX Runtime, image by image": lambda: [ask(image[None]) for image in pixels],
    }


if __name__ == "__main__":
    main()
