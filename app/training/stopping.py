"""Ctrl-C while a network learns: it ends between two steps."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import keras

_SAID = b"\ngraft: stopping after this step; Ctrl-C once more stops at once\n"


class Stopping(keras.callbacks.Callback):  # type: ignore[misc]  # Keras has no types
    """Raises between two steps what Ctrl-C asked for."""

    def __init__(self) -> None:
        """Prepares for a network."""
        super().__init__()
        self.asked = threading.Event()

    def here(self) -> None:
        """Stops, if that was asked for.

        Raises:
            KeyboardInterrupt: If it was.
        """
        if self.asked.is_set():
            self.asked.clear()  # it is answered by this
            raise KeyboardInterrupt

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Stops here."""
        self.here()

    def on_test_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Stops here."""
        self.here()


@contextmanager
def between_steps() -> Iterator[Stopping]:
    """Keeps Ctrl-C for the end of a step.

    Python raises it wherever the main thread happens to be. TensorFlow, which calls Python back
    while it traces, does not expect it there: of a hundred runs that were interrupted in their
    first steps four ended with a `SystemError`. A second Ctrl-C is raised at once. A handler that
    another program has set is left alone, and so is a signal that is ignored.

    Yields:
        A callback for `fit`, the last of all, so that the others see the end of the step too;
        other loops call its `here`.

    Raises:
        KeyboardInterrupt: If it was asked for, and no step ended since.
    """
    stopping = Stopping()
    ours = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if not ours or threading.current_thread() is not threading.main_thread():
        yield stopping
        return

    def ask(*_: object) -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        stopping.asked.set()
        os.write(2, _SAID)  # a stream may be in the middle of a line

    signal.signal(signal.SIGINT, ask)
    try:
        yield stopping
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    stopping.here()
