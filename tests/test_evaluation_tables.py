"""Metrics as a person reads them."""

from __future__ import annotations

from typing import Any

from app.evaluation.tables import (
    MOST_COLUMNS,
    class_table,
    confusion_table,
    label_table,
    split_line,
)

ACCURACY = {"value": 0.75, "low": 0.5, "high": 0.9}


def test_a_split_is_summed_up_in_a_line() -> None:
    measured: dict[str, Any] = {"accuracy": ACCURACY, "macro_f1": 0.6, "count": 8}
    measured["confusion"] = [[3, 1], [1, 3]]
    assert split_line(measured) == (
        "accuracy 0.7500 (95 % interval 0.5000 to 0.9000), macro F1 0.6000, 8 images"
    )


def test_a_split_of_many_labels_is_summed_up_by_their_metrics() -> None:
    measured = {"accuracy": ACCURACY, "macro_f1": 0.6, "count": 8, "hamming_loss": 0.25}
    without = split_line({**measured, "mean_average_precision": None})
    assert without == (
        "all labels right 0.7500 (95 % interval 0.5000 to 0.9000), macro F1 0.6000,"
        " Hamming loss 0.2500, 8 images"
    )
    whole = split_line({**measured, "mean_average_precision": 0.875})
    assert "macro F1 0.6000, mean average precision 0.8750, Hamming loss" in whole


def test_a_row_a_label_with_its_average_precision() -> None:
    of = {"precision": 0.5, "recall": 1.0, "f1": 2 / 3, "average_precision": 0.75, "count": 7}
    never = {"precision": 0.0, "recall": 0.0, "f1": 0.0, "average_precision": None, "count": 0}
    assert label_table({"red": of, "square": never}).splitlines() == [
        "label   precision  recall     F1  average precision  images",
        "red         0.500   1.000  0.667              0.750       7",
        "square      0.000   0.000  0.000                  -       0",
    ]


def test_a_row_a_class_under_its_heading() -> None:
    of = {"precision": 0.5, "recall": 1.0, "f1": 2 / 3, "count": 7}
    assert class_table({"a cat": of}).splitlines() == [
        "class  precision  recall     F1  images",
        "a cat      0.500   1.000  0.667       7",
    ]


def test_a_small_confusion_matrix_is_shown_whole() -> None:
    lines = confusion_table([[3, 1], [0, 2]], ["cat", "dog"]).splitlines()
    assert [line.split() for line in lines[1:]] == [
        ["cat", "dog"],
        ["cat", "3", "1"],
        ["dog", "0", "2"],
    ]
    assert len({len(line) for line in lines[1:]}) == 1


def test_of_a_large_one_the_commonest_mistakes_are_told() -> None:
    names = [f"kind {number}" for number in range(MOST_COLUMNS + 1)]
    matrix = [[10 if row == column else 0 for column in range(13)] for row in range(13)]
    matrix[2][5], matrix[7][1] = 4, 9
    assert confusion_table(matrix, names).splitlines() == [
        "commonest mistakes:",
        "    9  kind 7 taken for kind 1",
        "    4  kind 2 taken for kind 5",
    ]
