"""Backbones ranked for images, on real files and small networks."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from app.backbones.build import build_backbone
from app.backbones.candidates import Candidate, named
from app.backbones.table import find_backbone
from app.commands import rank_backbones
from app.data.reading import read_image
from app.data.sampling import sample
from app.data.sources import Listing, list_images
from app.errors import DataError
from app.features.transferability import held_out_scores, logme
from app.ranking import Ranked, rank, table
from tests.making import make_image

COMPACT = find_backbone("compact")
QUICK = Candidate(replace(COMPACT, image_size=32), "none")


@pytest.fixture(scope="module", autouse=True)
def hasty() -> Iterator[None]:
    """Times three batches and no more: how quick a network is plays no part here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("app.ranking._TIMED_SECONDS", 0.0)
        yield


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of the compact network."""
    keras.utils.set_random_seed(7)
    file = tmp_path_factory.mktemp("weights") / "mine.weights.h5"
    build_backbone(COMPACT, 96, "none")[0].save_weights(file)
    return file


@pytest.fixture(scope="module")
def listing(photos: Path) -> Listing:
    return sample(list_images(str(photos)), 24)


def features_of(listing: Listing, weights: Path) -> np.ndarray:
    base, _ = build_backbone(COMPACT, 96, str(weights))
    pixels = [read_image(tf.io.read_file(str(file.path)), 96) for file in listing.files]
    return base.predict_on_batch(np.stack(pixels) / np.float32(127.5) - 1)


def test_a_backbone_is_scored_by_its_features_and_the_best_comes_first(
    listing: Listing, weights: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    broken, infinite = tmp_path / "broken.weights.h5", tmp_path / "infinite.weights.h5"
    broken.write_bytes(weights.read_bytes()[:5000])
    base, _ = build_backbone(COMPACT, 32, str(weights))
    beta = base.get_layer("stage4_block2_2_bn").beta
    beta.assign(np.full(beta.shape, np.inf))
    base.save_weights(infinite)
    left_out = [replace(QUICK, weights=str(file)) for file in (broken, infinite)]
    mine, other = rank([QUICK, *left_out, *named(f"compact={weights}")], listing)
    assert mine.logme > other.logme
    assert other.candidate == QUICK
    assert f"left out: compact={broken}: {broken} is damaged" in caplog.text
    assert f"left out: compact={infinite}: its features are not finite numbers" in caplog.text

    features = features_of(listing, weights)
    labels = [listing.class_names.index(file.class_names[0]) for file in listing.files]
    targets = np.eye(3)[labels]
    assert mine.logme == pytest.approx(logme(features, targets), abs=1e-3)
    right = held_out_scores(features, targets).argmax(axis=1) == labels
    assert np.abs(mine.credit - right).sum() <= 1  # float noise may turn one image around
    assert mine.images_per_second > 0


def test_the_table_marks_what_is_no_worse_than_the_first_but_for_chance() -> None:
    right = np.ones(200)
    first, equal, worse = right.copy(), right.copy(), right.copy()
    # Five heads in a row are thrown once in 32 times, six once in 64.
    equal[:5], worse[:6] = 0, 0
    ranked = [
        Ranked(Candidate(COMPACT, weights), -number / 10, credit, speed)
        for number, (weights, credit, speed) in enumerate(
            [("a", first, 10.0), ("b", equal, 40.0), ("c", worse, 90.0)]
        )
    ]
    heading, *rows = table(ranked).splitlines()
    assert heading.split()[:4] == ["backbone", "pixels", "parameters", "LogME"]
    assert re.search(r"^compact=a +96 +1,456,928 +-?0\.000  100\.0% \(.*\) +10 \*$", rows[0])
    assert re.search(r"^compact=b .* -0\.100  97\.5% \(9\d\.\d% to 9\d\.\d%\) +40 \*$", rows[1])
    assert re.search(r"^compact=c .* -0\.200  97\.0% \(9\d\.\d% to 9\d\.\d%\) +90$", rows[2])
    text = " ".join(rows[3:])
    assert "not how far fine-tuning takes it" in text
    assert "of these compact=b is the quickest here" in text


def test_a_thousand_differing_images_are_counted_too() -> None:
    half = np.arange(3000) % 2
    one, other = (
        Ranked(Candidate(COMPACT, name), 0.0, credit.astype(float), 1.0)
        for name, credit in (("a", half), ("b", 1 - half))
    )
    assert table([one, other]).count("*") == 3  # two rows, and what it means


def test_mostly_unreadable_images_or_those_of_one_class_are_refused(tmp_path: Path) -> None:
    for name in ("a", "b"):
        make_image(tmp_path / name / "0.png", seed=0)
    with pytest.raises(DataError, match=r"the 1 images of .* all show the same"):
        rank([QUICK], list_images(str(tmp_path)))
    (tmp_path / "a" / "1.png").write_text("no image")
    with pytest.raises(DataError, match=r"1 of 3 files chosen from .* cannot be read"):
        rank([QUICK], list_images(str(tmp_path)))


def test_images_with_many_labels_are_ranked_by_how_high_their_labels_stand(
    photos: Path, tmp_path: Path
) -> None:
    files = sorted(photos.rglob("*.jpg"))
    rows = [f"{path},{'red;' * (path.parent.name == '2')}photo" for path in files]
    rows[-1] = f"{files[-1]},blank"
    (tmp_path / "table.csv").write_text("\n".join(["path,labels", *rows]) + "\n")
    source = list_images(str(tmp_path / "table.csv"))
    assert source.many_labels
    found = rank([QUICK], source)
    assert 0.5 < found[0].credit.mean() <= 1
    assert "label ranking precision" in table(found, source.many_labels)


def test_the_command_prints_the_table_and_says_what_was_left_out(
    photos: Path,
    weights: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    data = shutil.copytree(photos, tmp_path / "data")
    shutil.copy(data / "2" / "0.jpg", data / "10" / "twin.jpg")
    (data / "2" / "no.jpg").write_text("no image")
    with caplog.at_level("INFO", "graft"):
        assert rank_backbones(str(data), None, f"compact={weights}") == 0
    assert capsys.readouterr().out.splitlines()[1].startswith(f"compact={weights} ")
    assert f"{data}: 62 of 62 images are taken" in caplog.text
    assert "no.jpg (" in caplog.text
    assert "left out: 1 files with the same bytes as another" in caplog.text


def test_the_command_fails_if_nothing_could_be_ranked(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    empty = tmp_path / "empty.h5"
    empty.write_bytes(b"\x89HDF\r\n\x1a\n")
    assert rank_backbones(str(photos), 6, f"compact={empty}") == 1
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("arguments", "answer"),
    [
        ("--for nowhere --only compact=none", "nowhere does not exist: --data.source takes"),
        ("--for DATA --only compakt", "there is no backbone 'compakt'. Did you mean 'compact'?"),
        ("--for DATA --only compact=no.h5", "there are no weights at no.h5"),
        ("--for DATA --only compact=none --images 3", "3 images are too few to rank by"),
        ("--for DATA --images many", "argument --images: invalid int value: 'many'"),
        ("--for", "argument --for: expected one argument"),
        ("--images 30", "--images and --only say how to rank backbones: add --for DATA"),
    ],
)
def test_a_mistake_is_answered_without_tensorflow(
    photos: Path, tmp_path: Path, arguments: str, answer: str
) -> None:
    for name in ("tensorflow", "keras", "numpy"):
        (tmp_path / f"{name}.py").write_text(f"raise SystemExit('{name} was loaded')\n")
    given = [str(photos) if word == "DATA" else word for word in arguments.split()]
    done = subprocess.run(
        [sys.executable, "-c", "from app.cli import graft; graft()", "backbones", *given],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    assert done.stderr.startswith(f"graft: {answer}")
    assert len(done.stderr.splitlines()) == 1
