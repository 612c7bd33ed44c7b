"""Ctrl-C at the worst moments: while a step is traced, in the last one, twice."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator

import keras
import numpy as np
import pytest

from app.training.stopping import between_steps

# Batches are made in Python, some ahead, as those of pretraining and of augmentation are.
INTERRUPTED = """
import os, signal, sys, time
import keras, numpy as np, tensorflow as tf
from app.explaining import guarded
from app.training.stopping import between_steps

def slowly(step):
    ends = time.monotonic() + 0.3
    while time.monotonic() < ends:
        sum(range(1000))
    return np.ones((4, 1), "float32")

def batch(step):
    made = tf.numpy_function(slowly, [step], tf.float32, stateful=False)
    return (tf.ensure_shape(made, [4, 1]),) * 2

def work():
    signal.signal(signal.SIGINT, signal.default_int_handler)
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    batches = tf.data.Dataset.range(100).map(batch, 2).prefetch(2)
    ask = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda step, logs: os.kill(os.getpid(), signal.SIGINT)
    )
    with between_steps() as stopping:
        model.fit(batches, steps_per_epoch=100, callbacks=[ask, stopping], verbose=0)

sys.exit(guarded(work))
"""


def ctrl_c() -> None:
    os.kill(os.getpid(), signal.SIGINT)


@pytest.fixture(autouse=True)
def default() -> Iterator[None]:
    """Where each test begins, and what each is to leave."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    left = signal.getsignal(signal.SIGINT)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    assert left is signal.default_int_handler


class Interrupts(keras.layers.Layer):
    """Is interrupted when TensorFlow traces it, which calls Python for that."""

    armed = False

    def call(self, inputs: object) -> object:
        if self.armed:
            self.armed = False
            ctrl_c()
        return inputs


class Notes(keras.callbacks.Callback):
    def __init__(self) -> None:
        super().__init__()
        self.steps = 0

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        self.steps += 1


def test_ctrl_c_while_a_step_is_traced_waits_for_its_end(
    capfd: pytest.CaptureFixture[str],
) -> None:
    interrupts = Interrupts()
    model = keras.Sequential([keras.Input((2,)), interrupts, keras.layers.Dense(1)])
    model.compile("sgd", "mse", jit_compile=False)
    interrupts.armed = True
    notes = Notes()
    with pytest.raises(KeyboardInterrupt), between_steps() as stopping:
        model.fit(
            np.ones((8, 2)), np.ones((8, 1)), batch_size=2, callbacks=[notes, stopping], verbose=0
        )
    assert notes.steps == 1
    said = capfd.readouterr().err
    assert "graft: stopping after this step; Ctrl-C once more stops at once" in said


def test_ctrl_c_while_an_epoch_is_measured_stops_between_two_batches() -> None:
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    batches: list[int] = []

    def measured(batch: int, logs: object) -> None:
        batches.append(batch)
        ctrl_c()

    noting = keras.callbacks.LambdaCallback()
    noting.on_test_batch_end = measured
    images, wanted = np.ones((8, 2)), np.ones((8, 1))
    with pytest.raises(KeyboardInterrupt), between_steps() as stopping:
        model.evaluate(images, wanted, batch_size=2, callbacks=[noting, stopping], verbose=0)
    assert batches == [0]


def interrupted(times: int, reached: list[int], error: Exception | None = None) -> None:
    with between_steps():
        for time in range(times):
            ctrl_c()
            reached.append(time)
        if error:
            raise error


def test_after_the_last_step_it_is_raised_at_the_end() -> None:
    reached: list[int] = []
    with pytest.raises(KeyboardInterrupt):
        interrupted(1, reached)
    assert reached == [0]


def test_a_second_one_is_raised_at_once() -> None:
    reached: list[int] = []
    with pytest.raises(KeyboardInterrupt):
        interrupted(2, reached)
    assert reached == [0]


def test_an_error_meanwhile_is_not_hidden() -> None:
    with pytest.raises(ValueError, match="mine"):
        interrupted(1, [], ValueError("mine"))


def test_what_handles_the_signal_otherwise_is_left_alone() -> None:
    seen: list[int] = []

    def others(number: int, frame: object) -> None:
        seen.append(number)

    signal.signal(signal.SIGINT, others)
    with between_steps() as stopping:
        ctrl_c()
        stopping.here()
    assert signal.getsignal(signal.SIGINT) is others
    assert seen == [signal.SIGINT]
    signal.signal(signal.SIGINT, signal.default_int_handler)


def test_elsewhere_than_in_the_main_thread_nothing_changes() -> None:
    """Signals are handled in the main thread alone, where `signal.signal` is allowed."""
    seen: list[object] = []

    def work() -> None:
        with between_steps() as stopping:
            stopping.here()
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [signal.default_int_handler]


def test_a_process_ends_though_batches_are_being_made() -> None:
    command = [sys.executable, "-c", INTERRUPTED]
    done = subprocess.run(command, capture_output=True, timeout=120, check=False)
    assert done.returncode == 130, done.stderr
    assert b"graft: stopped" in done.stderr
