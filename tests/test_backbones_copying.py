from __future__ import annotations

import keras
import numpy as np
import pytest

from app.backbones.build import build_backbone
from app.backbones.copying import copy_weights
from app.backbones.table import find_backbone


@pytest.mark.parametrize("name", ["compact", "efficientnet_b0"])  # one with Normalization
def test_a_copy_answers_as_the_network_does(name: str) -> None:
    base = build_backbone(find_backbone(name), 32, "none")[0]
    copy = keras.models.clone_model(base)
    pixels = np.random.default_rng(0).uniform(0, 255, (2, 32, 32, 3)).astype(np.float32)
    wanted = np.asarray(base(pixels, training=False))
    assert not np.allclose(copy(pixels, training=False), wanted, rtol=1e-3)
    copy_weights(base, copy)
    np.testing.assert_allclose(copy(pixels, training=False), wanted, rtol=1e-5, atol=1e-6)
