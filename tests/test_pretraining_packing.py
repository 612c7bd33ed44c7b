"""What is shipped of a pretraining: whole, of the right network, a version once."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from app.backbones.build import build_backbone
from app.backbones.loading import unpack
from app.backbones.table import find_backbone
from app.errors import WeightsError
from app.pretraining.packing import pack_run
from tests.conftest import ROOT


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return saved("compact", tmp_path / "run")


def saved(name: str, run: Path) -> Path:
    run.mkdir()
    build_backbone(find_backbone(name), 32, "none")[0].save(run / "model.keras")
    return run


def test_a_packed_backbone_is_small_and_unpacks_to_what_it_was(run: Path, tmp_path: Path) -> None:
    digest = pack_run(run, "embedded-v7", tmp_path / "embedded")
    file = tmp_path / "embedded" / "embedded-v7.npz"
    assert digest == hashlib.sha256(file.read_bytes()).hexdigest()
    assert file.stat().st_size < 5_000_000
    base = build_backbone(find_backbone("compact"), 96, "none")[0]
    unpack(base, file)
    trained = keras.models.load_model(run / "model.keras", compile=False)
    for found, wanted in zip(base.get_weights(), trained.get_weights(), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=1e-6)


def test_a_version_is_never_packed_again(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pack_run(run, "embedded-v7", tmp_path)
    with pytest.raises(WeightsError, match=r"embedded-v7 was shipped already .* another version"):
        pack_run(run, "embedded-v7", tmp_path)
    monkeypatch.setattr("app.pretraining.packing.VERSIONS", {"embedded-v8": "0" * 64})
    with pytest.raises(WeightsError, match="embedded-v8 was shipped already"):
        pack_run(run, "embedded-v8", tmp_path)


def test_only_a_finished_compact_network_of_numbers_is_packed(run: Path, tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    begun.mkdir()
    (begun / "recipe.json").write_text("{}")
    with pytest.raises(WeightsError, match="its training did not finish"):
        pack_run(begun, "embedded-v7", tmp_path)
    other = saved("mobilenet_025", tmp_path / "other")
    with pytest.raises(WeightsError, match="do not fit compact"):
        pack_run(other, "embedded-v7", tmp_path)
    model = keras.models.load_model(run / "model.keras", compile=False)
    kernel = model.get_layer("stem_conv").kernel
    kernel.assign(1e6 * np.ones(kernel.shape, "float32"))  # of half floats none is as large
    model.save(run / "model.keras")
    with pytest.raises(WeightsError, match="stem_conv/kernel holds what is no number of float16"):
        pack_run(run, "embedded-v7", tmp_path)
    assert not list(tmp_path.glob("*.npz"))


def test_packing_says_in_one_line_what_is_wrong(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "app.pretraining.packing",
        str(tmp_path / "none"),
        "embedded-v1",
    ]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 2
    assert "embedded-v1 was shipped already" in done.stderr
    assert "Traceback" not in done.stderr
