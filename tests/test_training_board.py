"""What TensorBoard is told, and that it ends nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.training.board import Board
from tests.test_training_watching import shown


def test_numbers_are_found_again_in_their_order(tmp_path: Path) -> None:
    board = Board(tmp_path / "tensorboard")
    for step in (3, 5):
        board.tell(step, {"loss": 1.0 / step, "probe": 0.1 * step})
    found = shown(tmp_path)
    assert found == {
        "loss": pytest.approx([1 / 3, 1 / 5]),
        "probe": pytest.approx([0.3, 0.5]),
    }


def test_a_folder_that_cannot_be_written_is_said_and_ends_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "tensorboard").write_text("a file, where the folder should be")
    Board(tmp_path / "tensorboard").tell(1, {"loss": 1.0})
    assert f"{tmp_path / 'tensorboard'} cannot be written: " in caplog.text
