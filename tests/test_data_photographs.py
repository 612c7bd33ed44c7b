"""Photographs that packages ship: known by their hashes, refused if they are others."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from app.data import photographs as module
from app.data.photographs import PHOTOGRAPHS, photographs
from app.errors import DataError

SHIPPED = tuple(each for each in PHOTOGRAPHS if each.path.startswith("sklearn/"))


def test_photographs_of_scikit_learn_are_the_known_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PHOTOGRAPHS", SHIPPED)
    found = photographs()
    assert [each.shape for each in found] == [(427, 640, 3), (427, 640, 3)]
    assert all(each.dtype == np.uint8 for each in found)


def test_another_photograph_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    other = replace(SHIPPED[0], sha256="0" * 64)
    monkeypatch.setattr(module, "PHOTOGRAPHS", (other,))
    with pytest.raises(DataError, match=r"china.jpg is another photograph .*\[pretraining\]"):
        photographs()


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PHOTOGRAPHS", (replace(SHIPPED[0], path="nowhere/a.jpg"),))
    with pytest.raises(DataError, match="needs nowhere, which is not installed: pip install"):
        photographs()


def test_a_missing_file_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PHOTOGRAPHS", (replace(SHIPPED[0], path="sklearn/none.jpg"),))
    with pytest.raises(DataError, match=r"none\.jpg cannot be read: No such file"):
        photographs()


def test_each_has_a_hash_a_licence_and_an_author() -> None:
    for each in PHOTOGRAPHS:
        assert len(each.sha256) == 64
        assert each.licence
        assert each.attribution
    assert len({each.sha256 for each in PHOTOGRAPHS}) == len(PHOTOGRAPHS)
