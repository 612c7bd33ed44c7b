"""What TensorBoard is shown of a training, and what that may cost."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from app.backbones.build import build_backbone
from app.backbones.table import find_backbone
from app.models import build_model, unfreeze
from app.recipe import Head, Stage
from app.training import watching
from app.training.callbacks import History
from app.training.compiling import compile_for
from app.training.losses import Task
from app.training.watching import Watch

COMPACT = find_backbone("compact")


def fit(folder: Path, epochs: int = 2) -> tuple[keras.Model, Watch]:
    random = np.random.default_rng(0)
    pixels, labels = random.integers(0, 256, (16, 32, 32, 3), "uint8"), random.integers(0, 3, 16)
    base, _ = build_backbone(COMPACT, 32, "none")
    model = build_model(COMPACT, base, Head(units=(8,), activation="tanh"), 3, 0)
    unfreeze(model, COMPACT, "head")
    compile_for(model, COMPACT, Stage(learning_rate=1e-4), Task((5, 5, 6), 16), 2)
    history = History(folder / "history.csv")
    watch = Watch(model, folder / "tensorboard", history, pixels[:4])
    model.fit(
        pixels,
        labels,
        batch_size=8,
        epochs=epochs,
        validation_data=(pixels, labels),
        callbacks=[history, watch],
        shuffle=False,
        verbose=0,
    )
    return model, watch


def shown(folder: Path) -> dict[str, list[float]]:
    events = EventAccumulator(str(folder / "tensorboard"), {"tensors": 0})
    events.Reload()
    return {
        name: [float(np.frombuffer(e.tensor_proto.tensor_content, "float32")[0]) for e in each]
        for name in events.Tags()["tensors"]
        for each in [events.Tensors(name)]
    }


def test_curves_and_signals_of_every_layer_are_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "BUDGET", 1e9)  # or on a busy machine an epoch is left out
    keras.utils.set_random_seed(0)  # with some weights all hidden units are saturated
    model, _ = fit(tmp_path)
    found = shown(tmp_path)
    assert {"loss", "accuracy", "validation_loss", "validation_accuracy"} <= set(found)
    assert found["learning_rate"] == pytest.approx([1e-4, 1e-4])
    for variable in model.trainable_variables:
        norms = found[f"gradient_norm/{variable.path}"]
        assert len(norms) == 2
        assert all(np.isfinite(norm) and norm > 0 for norm in norms), (variable.path, norms)
    # The kernel of the first hidden layer moved in the last step by what it moved.
    assert 1e-6 < found["update_ratio/hidden_1/kernel"][1] < 1


def test_activations_are_looked_at_only_as_the_budget_allows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "dear").mkdir()
    fit(tmp_path / "dear")
    assert not [name for name in shown(tmp_path / "dear") if "saturated" in name]
    monkeypatch.setattr(watching, "BUDGET", 1e9)
    (tmp_path / "cheap").mkdir()
    fit(tmp_path / "cheap")
    found = shown(tmp_path / "cheap")
    assert 0 <= found["saturated_share/hidden_1_tanh"][0] <= 1
    of_backbone = [name for name in found if name.startswith("dead_share/stage")]
    assert len(of_backbone) >= 8
    assert all(0 <= found[name][0] <= 1 for name in of_backbone)


def test_watching_changes_no_weight(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results = []
    for name, budget in (("a", 0.0), ("b", 1e9)):
        monkeypatch.setattr(watching, "BUDGET", budget)
        keras.utils.set_random_seed(1)
        (tmp_path / name).mkdir()
        model, _ = fit(tmp_path / name)
        results.append([weight.tobytes() for weight in model.get_weights()])
    assert results[0] == results[1]
