"""The benchmarks: each says what it takes, and what they share counts rightly."""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from app.backbones.compact import build_compact
from tests.conftest import MATERIAL, ROOT

BENCHMARKS = ROOT / "benchmarks"
sys.path[:0] = [str(BENCHMARKS), str(BENCHMARKS / "baselines")]

# Scripts find what they share beside them, and so must this file.
import accuracy as accuracy_script  # noqa: E402  # see above
import comparing  # noqa: E402  # see above
import generating  # noqa: E402  # see above
import measuring  # noqa: E402  # see above
import methods  # noqa: E402  # see above
import probing  # noqa: E402  # see above
import scaling  # noqa: E402  # see above
import strong  # noqa: E402  # see above
import tuning_trials  # noqa: E402  # see above

# What `serving_engines.py` starts is no command of its own.
SCRIPTS = [
    path
    for path in sorted(BENCHMARKS.rglob("*.py"))
    if "__main__" in path.read_text() and path.parent.name != "engines"
]


def used(cpu: float) -> measuring.Used:
    return measuring.Used(cpu, cpu / 2, 100_000_000, "")


def outcomes(rights: str, cpus: list[float]) -> list[methods.Outcome]:
    """One a word: `110 101` has the last and the second of three images wrong."""
    return [
        methods.Outcome(used(cpu), {f"{n}.jpg": each == "1" for n, each in enumerate(word)})
        for word, cpu in zip(rights.split(), cpus, strict=True)
    ]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_each_script_says_what_it_takes(script: Path) -> None:
    done = subprocess.run(
        [sys.executable, script, "--help"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "usage:" in done.stdout
    assert len(script.read_text().splitlines()) <= 250


def test_a_process_is_measured_with_its_threads_and_children() -> None:
    burn = "import time\nwhile time.process_time() < 0.3: pass"
    # The thread leaves Python's lock alone while it hashes; the child is its own process.
    code = f"""
import hashlib, subprocess, sys, threading
thread = threading.Thread(target=lambda: hashlib.pbkdf2_hmac("sha256", b"", b"", 400_000))
thread.start()
held = bytearray(b"x") * 150_000_000
subprocess.run([sys.executable, "-c", {burn!r}], check=True)
thread.join()
print("done")
"""
    alone = measuring.measure([sys.executable, "-c", "pass"])
    found = measuring.measure([sys.executable, "-c", code])
    assert found.output == "done\n"
    assert found.cpu_seconds > alone.cpu_seconds + 0.3
    assert found.wall_seconds > 0.3


def test_the_peak_of_a_process_is_its_own() -> None:
    """From a small process, as benchmarks are: Linux counts what it was forked from, too."""
    code = (
        "import measuring, sys; "
        "hold = 'held = bytearray(b\"x\") * 150_000_000'; "
        "print(measuring.measure([sys.executable, '-c', hold]).peak_bytes)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT / "benchmarks",
        capture_output=True,
        text=True,
        check=True,
    )
    assert 150e6 < int(done.stdout) < 300e6


def test_a_process_that_fails_stops_the_benchmark_with_its_last_words() -> None:
    with pytest.raises(RuntimeError, match=r"exit\(.*ended with 1: no such thing"):
        measuring.measure([sys.executable, "-c", "exit('no such thing')"])


def test_a_process_gets_the_environment_that_it_is_given() -> None:
    code = "import os; print(os.environ['GRAFT_CACHE'], 'PATH' in os.environ)"
    found = measuring.measure([sys.executable, "-c", code], {"GRAFT_CACHE": "here"})
    assert found.output == "here True\n"


def test_methods_take_turns_in_both_directions(capsys: pytest.CaptureFixture[str]) -> None:
    called: list[tuple[str, int]] = []
    turns = {name: lambda number, name=name: called.append((name, number)) for name in "ab"}
    measuring.alternate(turns, 2)
    assert called == [("a", 0), ("b", 0), ("b", 1), ("a", 1)]
    assert "round 2 of 2: a" in capsys.readouterr().err


def test_figures_are_written_with_their_spread() -> None:
    assert measuring.spread([3.0, 1.0, 2.5]) == "2.5 (1.0 to 3.0)"
    assert measuring.spread([2.0], ".2f") == "2.00"
    assert measuring.ratios([6.0, 8.0], [3.0, 2.0]) == [2.0, 4.0]
    assert measuring.table(("a", "b"), [(1, "x")]) == "| a | b |\n| --- | --- |\n| 1 | x |"


def test_methods_are_compared_in_the_pairs_of_each_round() -> None:
    guide = outcomes("1100 1000", [12.0, 22.0])
    graft = outcomes("1110 1100", [6.0, 4.0])
    text = comparing.compared({"guide": guide, "graft": graft}, importing=2.0)
    guide_row, graft_row = (line.split(" | ") for line in text.splitlines()[2:])
    assert guide_row[1] == "0.375"  # 2 and 1 of 4
    assert guide_row[3].startswith("+25.0 (")
    assert guide_row[4] == "17.0 (12.0 to 22.0)"
    assert guide_row[5] == "3.75 (2.00 to 5.50)"
    assert guide_row[6] == "6.25 (2.50 to 10.00)"  # 10 / 4 and 20 / 2
    assert graft_row[1] == "0.625"
    assert graft_row[3] == graft_row[5] == ""


def test_an_interval_is_about_as_wide_as_the_binomial_one() -> None:
    right = np.random.default_rng(0).random(400) < 0.8
    word = "".join("1" if each else "0" for each in right)
    value, low, high = comparing.accuracy(outcomes(word, [1.0]))
    half = 1.96 * np.sqrt(right.mean() * (1 - right.mean()) / 400)
    assert value == pytest.approx(right.mean())
    assert high - low == pytest.approx(2 * half, rel=0.15)


def test_methods_tested_on_different_images_are_not_compared() -> None:
    with pytest.raises(ValueError, match="different images"):
        comparing.difference(outcomes("11", [1.0]), outcomes("111", [1.0]))


def test_cost_is_counted_beyond_the_start() -> None:
    found = {count: outcomes("1", [5.0 + 0.01 * count]) for count in (1000, 2000)}
    start = [5.0 + 0.01 * scaling.FEW]
    first, second = scaling.rows(found, start)
    assert first[:3] == (1000, "10.00", "1.000")
    assert second[:3] == (2000, "10.00", "1.000")


def test_a_set_is_divided_class_by_class_and_always_alike(tmp_path: Path) -> None:
    for name, count in (("few", 10), ("many", 40)):
        (tmp_path / "all" / name).mkdir(parents=True)
        for number in range(count):
            (tmp_path / "all" / name / f"{number}.jpg").touch()
    parts = []
    for into in ("one", "two"):
        accuracy_script.divide(tmp_path / "all", tmp_path / into, most=20)
        links = sorted((tmp_path / into).rglob("*.jpg"))
        parts.append([str(link.relative_to(tmp_path / into)) for link in links])
        assert all(link.is_file() for link in links)
    assert parts[0] == parts[1]
    counts = {
        f"{part}/{name}": sum(file.startswith(f"{part}/{name}/") for file in parts[0])
        for part in ("train", "test")
        for name in ("few", "many")
    }
    assert counts == {"train/few": 4, "train/many": 16, "test/few": 2, "test/many": 8}
    assert len({file.split("/", 1)[1] for file in parts[0]}) == 30


def test_generated_photographs_follow_from_the_seed(tmp_path: Path) -> None:
    made = [
        generating.generate(tmp_path / str(number), 11, seed, (80, 60))
        for number, seed in enumerate((0, 0, 1))
    ]
    contents = [[file.read_bytes() for file in sorted(each.rglob("*.jpg"))] for each in made]
    assert len(contents[0]) == len(set(contents[0])) == 10
    assert contents[0] == contents[1] != contents[2]


def test_blocks_are_counted_from_the_head_down() -> None:
    layers = ("Conv_1", "block_16_project", "block_1_expand", "expanded_conv_depthwise", "Conv1")
    assert [strong.depth_of(layer) for layer in layers] == [1, 2, 17, 18, 19]


def test_a_test_split_is_found_under_either_name(tmp_path: Path) -> None:
    given = methods.Setting(tmp_path, "mobilenet_v2_035", "none", 32)
    assert methods.tested(given) == tmp_path
    (tmp_path / "val").mkdir()
    assert methods.tested(given) == tmp_path / "val"
    (tmp_path / "test").mkdir()
    assert methods.tested(given) == tmp_path / "test"


def asked(**changes: object) -> argparse.Namespace:
    return methods.arguments("", "mobilenet_v2_035", 160).parse_args(
        [f"--{name.replace('_', '-')}={value}" for name, value in changes.items()]
    )


def test_a_baseline_reports_which_images_it_has_right(tmp_path: Path) -> None:
    for part, seed in (("train", 0), ("test", 1)):
        generating.generate(tmp_path / part, 20, seed, (40, 30))
    with methods.setting(asked(images=tmp_path, weights="none", image_size=32)) as given:
        found = methods.baseline("logistic", given, 0)
    said = [word for word in found.used.output.split() if word]
    assert len(found.right) == 20
    assert f'"accuracy": {np.mean([*found.right.values()])}' in " ".join(said)
    assert found.used.cpu_seconds > 1
    assert found.used.peak_bytes > 100e6


@pytest.mark.slow
@pytest.mark.parametrize("name", ["guide", "strong", "graft"])
def test_each_method_trains_and_is_tested_on_the_same_images(name: str, tmp_path: Path) -> None:
    for part, seed in (("train", 0), ("test", 1)):
        generating.generate(tmp_path / part, 60, seed, (80, 60))
    with methods.setting(asked(images=tmp_path, weights="none", image_size=32)) as given:
        found = accuracy_script.QUICK[{"guide": "guide-both"}.get(name, name)](given, 0)
    assert sorted(found.right) == sorted(
        str(file.relative_to(tmp_path / "test")) for file in (tmp_path / "test").rglob("*.jpg")
    )


@pytest.mark.slow
@pytest.mark.skipif(not MATERIAL.is_dir(), reason="needs ../shared/material")
def test_the_strong_baseline_is_as_strong_as_it_was_measured_to_be() -> None:
    flowers = asked(images=MATERIAL / "datasets" / "flowers")
    with methods.setting(flowers) as given:
        found = methods.baseline("strong", given, 0)
    assert np.mean([*found.right.values()]) > 0.78  # 0.813 and 0.840 with seeds 1 and 0


def test_there_are_twenty_different_trials() -> None:
    grid = {(rate, dropout) for dropout in tuning_trials.DROPOUTS for rate in tuning_trials.RATES}
    assert len(grid) == 20


def test_parts_of_the_features_of_the_compact_network_are_told_apart() -> None:
    base = build_compact(32)
    stages = (1, 2, 3, 4)
    maps = [base.get_layer(f"stage{stage}_block2_relu").output for stage in stages]
    both = keras.Model(base.input, [base.output, *maps])
    images = np.random.default_rng(0).uniform(-1, 1, (2, 32, 32, 3)).astype("float32")
    features, *found = (np.asarray(each) for each in both(images))
    wanted = [[each.mean(axis=(1, 2)), np.sqrt(each.var(axis=(1, 2)) + 1e-5)] for each in found]
    for count in (1, 2):
        left = probing.first_parts_of(lambda _: features, count)(images)
        parts = [part for each in wanted for part in each[:count]]
        np.testing.assert_allclose(left, np.concatenate(parts, axis=1), rtol=1e-5, atol=1e-6)
