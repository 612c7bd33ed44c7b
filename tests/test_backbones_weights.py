from __future__ import annotations

import hashlib
import socket
import time
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest

from app.backbones.build import build_backbone
from app.backbones.loading import pack, unpack
from app.backbones.table import find_backbone
from app.backbones.weights import cached_file, is_cached, weights_folder
from app.errors import WeightsError

MATERIAL = Path(__file__).parents[2] / "shared" / "material" / "keras_home"
V2 = "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_{}_no_top.h5"
COMPACT, SMALL = find_backbone("compact"), find_backbone("mobilenet_025")
needs_material = pytest.mark.skipif(not MATERIAL.is_dir(), reason="needs ../shared/material")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home of Keras."""
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    (tmp_path / "models").mkdir()
    return tmp_path


@pytest.fixture
def offline(home: Path, monkeypatch: pytest.MonkeyPatch) -> list[float | None]:
    """No network: every look-up of a host fails, and notes the patience it was given."""
    patience: list[float | None] = []

    def fail(*_: object, **__: object) -> None:
        patience.append(socket.getdefaulttimeout())
        raise socket.gaierror(-3, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    monkeypatch.setattr("keras.src.utils.file_utils.config.keras_home", lambda: str(home))
    return patience


@pytest.fixture(scope="module")
def base() -> keras.Model:
    return build_backbone(SMALL, 32, "none")[0]


def images(size: int = 32) -> np.ndarray:
    return np.random.default_rng(0).uniform(-1, 1, (2, size, size, 3)).astype("float32")


def in_one_line(error: pytest.ExceptionInfo[WeightsError]) -> str:
    message = str(error.value)
    assert "\n" not in message
    return message


def test_weights_lie_under_keras_home(home: Path) -> None:
    assert weights_folder() == home / "models"


def test_without_keras_home_weights_lie_in_the_home_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("KERAS_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert weights_folder() == tmp_path / ".keras" / "models"
    monkeypatch.setenv("HOME", str(tmp_path / "nowhere"))
    assert weights_folder() == Path("/tmp/.keras/models")


def test_backbone_is_cached_once_its_file_is_there(home: Path) -> None:
    backbone = find_backbone("mobilenet_v2")
    assert not is_cached(backbone)
    (home / "models" / V2.format(224)).touch()
    assert is_cached(backbone)
    assert not is_cached(COMPACT)


def test_file_of_the_very_size_is_taken_before_the_native_one(home: Path) -> None:
    backbone = find_backbone("mobilenet_v2")
    (home / "models" / V2.format(224)).touch()
    assert cached_file(backbone, 96) == home / "models" / V2.format(224)
    (home / "models" / V2.format(96)).touch()
    assert cached_file(backbone, 96) == home / "models" / V2.format(96)
    assert cached_file(backbone, 100) == home / "models" / V2.format(224)


def test_missing_weights_offline_name_file_folder_and_ways_out(
    home: Path, offline: list[float | None]
) -> None:
    start = time.monotonic()
    with pytest.raises(WeightsError) as error:
        build_backbone(SMALL, 128, "imagenet")
    message = in_one_line(error)
    assert time.monotonic() - start < 10
    assert f"put mobilenet_2_5_128_tf_no_top.h5 into {home / 'models'}" in message
    assert "name resolution" in message
    assert "--weights none" in message
    assert "--weights embedded" in message


def test_download_is_given_ten_seconds_and_the_limit_is_taken_back(
    offline: list[float | None],
) -> None:
    before = socket.getdefaulttimeout()
    with pytest.raises(WeightsError):
        build_backbone(SMALL, 100, "imagenet")
    assert offline
    assert set(offline) == {10.0}
    assert socket.getdefaulttimeout() == before


def test_imagenet_weights_are_those_of_the_file(home: Path, base: keras.Model) -> None:
    file = home / "models" / "mobilenet_2_5_224_tf_no_top.h5"
    save_in_the_old_format(base, file)
    loaded, provenance = build_backbone(SMALL, 64, "imagenet")
    assert provenance.source == "imagenet"
    assert provenance.file == str(file)
    assert provenance.sha256 == hashlib.sha256(file.read_bytes()).hexdigest()
    assert_same_weights(loaded, base)


def test_compact_has_no_imagenet_weights_and_says_so() -> None:
    with pytest.raises(WeightsError, match="`--weights embedded` or `--weights none`"):
        build_backbone(COMPACT, 32, "imagenet")


@pytest.fixture
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> keras.Model:
    """A network whose weights are shipped as two versions."""
    network = build_backbone(COMPACT, 32, "none")[0]
    for number in (1, 2):
        pack(network, tmp_path / f"embedded-v{number}.npz")
    digests = {
        file.stem: hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(tmp_path.iterdir())
    }
    monkeypatch.setattr("app.backbones.weights.EMBEDDED", tmp_path)
    monkeypatch.setattr("app.backbones.weights.VERSIONS", digests)
    return network


@pytest.mark.parametrize("name", ["embedded", "embedded-v1", "embedded-v2"])
def test_embedded_weights_are_loaded_in_half_precision(name: str, shipped: keras.Model) -> None:
    loaded, provenance = build_backbone(COMPACT, 48, name)
    for one, other in zip(loaded.weights, shipped.weights, strict=True):
        wanted = np.asarray(other)
        wanted = wanted.astype("float16") if wanted.ndim > 1 else wanted
        np.testing.assert_array_equal(np.asarray(one), wanted)
    assert provenance.source == name
    assert str(provenance.file).endswith("v1.npz" if name[-1] == "1" else "v2.npz")


def test_embedded_weights_that_were_changed_are_refused(
    shipped: keras.Model, tmp_path: Path
) -> None:
    file = tmp_path / "embedded-v2.npz"
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    with pytest.raises(WeightsError, match=r"embedded-v2.npz is not what graft shipped"):
        build_backbone(COMPACT, 48, "embedded")


def test_embedded_weights_that_are_missing_are_said(shipped: keras.Model, tmp_path: Path) -> None:
    (tmp_path / "embedded-v2.npz").unlink()
    with pytest.raises(WeightsError, match=r"embedded-v2.npz, .*, is missing: install graft again"):
        build_backbone(COMPACT, 48, "embedded")


def test_embedded_weights_of_another_network_are_refused(
    shipped: keras.Model, tmp_path: Path
) -> None:
    other = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    with pytest.raises(WeightsError, match="are of another network: install graft again"):
        unpack(other, tmp_path / "embedded-v1.npz")


def test_only_compact_can_have_embedded_weights() -> None:
    with pytest.raises(WeightsError, match="exist for compact only, not for mobilenet_025"):
        build_backbone(SMALL, 32, "embedded")


@pytest.mark.parametrize("ending", [".weights.h5", ".h5", ".keras"])
def test_weights_come_back_from_a_file(ending: str, base: keras.Model, tmp_path: Path) -> None:
    file = tmp_path / f"mine{ending}"
    if ending == ".h5":
        save_in_the_old_format(base, file)
    else:
        (base.save_weights if ending == ".weights.h5" else base.save)(file)
    loaded, provenance = build_backbone(SMALL, 64, str(file))
    assert_same_weights(loaded, base)
    assert (provenance.source, provenance.file) == (str(file), str(file))
    assert provenance.sha256 == hashlib.sha256(file.read_bytes()).hexdigest()


@pytest.mark.parametrize("name", ["compact", "efficientnet_b0"])
def test_weights_come_back_from_a_run_directory(name: str, tmp_path: Path) -> None:
    backbone = find_backbone(name)
    trained = build_backbone(backbone, 32, "none")[0]
    pixels = keras.Input((32, 32, 3), name="pixels")
    features = trained(pixels)
    model = keras.Model(pixels, keras.layers.Dense(3, name="head")(features))
    model.save(tmp_path / "model.keras")
    loaded, provenance = build_backbone(backbone, 32, str(tmp_path))
    assert provenance.file == str(tmp_path / "model.keras")
    assert_same_weights(loaded, trained)
    np.testing.assert_array_equal(loaded(images()), trained(images()))


@pytest.mark.parametrize("ending", [".weights.h5", ".h5", ".keras"])
def test_weights_of_another_architecture_are_refused(
    ending: str, base: keras.Model, tmp_path: Path
) -> None:
    file = tmp_path / f"mine{ending}"
    if ending == ".h5":
        save_in_the_old_format(base, file)
    else:
        (base.save_weights if ending == ".weights.h5" else base.save)(file)
    for other in ("mobilenet_050", "mobilenet_v2_035", "compact"):
        with pytest.raises(WeightsError) as error:
            build_backbone(find_backbone(other), 32, str(file))
        assert f"{file} do not fit {other} (" in in_one_line(error)


def test_a_run_that_did_not_finish_has_no_weights(tmp_path: Path) -> None:
    (tmp_path / "recipe.json").write_text("{}")
    with pytest.raises(WeightsError, match=r"has no model.keras: its training did not finish"):
        build_backbone(SMALL, 32, str(tmp_path))


def test_missing_path_is_refused_with_what_weights_can_be(tmp_path: Path) -> None:
    for missing in ("imagnet", str(tmp_path / "none.h5"), str(tmp_path)):
        with pytest.raises(WeightsError, match="weights are imagenet, embedded, none, or") as error:
            build_backbone(SMALL, 32, missing)
        assert missing in in_one_line(error)


@pytest.mark.parametrize("name", ["a.h5", "a.weights.h5", "a.keras", "a.txt"])
def test_file_of_another_kind_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("not weights")
    with pytest.raises(WeightsError, match=f"{name} is (not a|no) ") as error:
        build_backbone(SMALL, 32, str(tmp_path / name))
    in_one_line(error)


@pytest.mark.parametrize("name", ["a.h5", "a.weights.h5"])
def test_hdf5_file_without_weights_is_refused(name: str, tmp_path: Path) -> None:
    with h5py.File(tmp_path / name, "w") as opened:
        opened["numbers"] = [1, 2, 3]
    with pytest.raises(WeightsError, match="do not fit mobilenet_025") as error:
        build_backbone(SMALL, 32, str(tmp_path / name))
    in_one_line(error)


@needs_material
@pytest.mark.parametrize("name", ["mobilenet_v2", "mobilenet_v2_035", "mobilenet_025"])
def test_official_imagenet_weights_load(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERAS_HOME", str(MATERIAL))
    backbone = find_backbone(name)
    base, provenance = build_backbone(backbone, 160, "imagenet")
    assert "_224_" in str(provenance.file)
    theirs = getattr(keras.applications, str(backbone.constructor))(
        weights=provenance.file,
        include_top=False,
        input_shape=(160, 160, 3),
        **dict(backbone.arguments),
    )
    np.testing.assert_array_equal(base(images(160)), theirs(images(160)))


def test_half_downloaded_file_is_called_damaged(home: Path, base: keras.Model) -> None:
    file = home / "models" / SMALL.weights_names()[0]
    save_in_the_old_format(base, file)
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(WeightsError) as error:
        build_backbone(SMALL, 32, "imagenet")
    assert f"{file} is damaged, perhaps by an interrupted download" in in_one_line(error)


def assert_same_weights(one: keras.Model, other: keras.Model) -> None:
    assert len(one.weights) == len(other.weights)
    for mine, wanted in zip(one.weights, other.weights, strict=True):
        np.testing.assert_array_equal(mine.numpy(), wanted.numpy())


def save_in_the_old_format(model: keras.Model, file: Path) -> None:
    from keras.src.legacy.saving import legacy_h5_format

    with h5py.File(file, "w") as opened:
        legacy_h5_format.save_weights_to_hdf5_group(opened, model)
