"""What a search brings on the test images, and how its algorithms compare at an equal budget.

    export KERAS_HOME=../shared/material/keras_home
    python benchmarks/gains.py --output /tmp/gains
    python benchmarks/gains.py --output /tmp/gains_folder --recipe recipes/folder.py

Every search begins with a recipe as written, the plain head of `one_stage.py` if nothing else is
said, and searches the default space. Random and Bayesian search train `--trials` trials each.
Hyperband, whose trials are shorter, trains as many as come to the epochs of the random search of
the same seed. Each seed divides the images in another way, where they are not divided already. The
same command goes on where it was left.
"""

import argparse
import json
import sys
from dataclasses import dataclass
from pathlib import Path

from comparing import accuracy, difference
from measuring import MATERIAL, machine, measure, spread, table
from methods import ONE_STAGE, Outcome

from app.run_directory import open_run

ALGORITHMS = ("random", "bayesian", "hyperband")
SETS = ("flowers", "trashnet")
MORE = 10  # trials at a time, until Hyperband has had its epochs


@dataclass(frozen=True)
class Found:
    """What a search came to.

    Attributes:
        trials: How many it had.
        epochs: Of all of them.
        inflation: By how many points its winner's validation accuracy flatters, as it says.
        validation: Accuracy of the winner on the validation images.
        written: What the recipe as written answered on the test images.
        winner: The same of the winner.
    """

    trials: int
    epochs: int
    inflation: float
    validation: float
    written: Outcome
    winner: Outcome


def main() -> None:
    """Prints a table a set."""
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--output", type=Path, required=True, help="of the searches")
    parser.add_argument("--recipe", type=Path, default=ONE_STAGE, help="as written")
    parser.add_argument("--sets", nargs="+", default=SETS, help="folders of --datasets")
    parser.add_argument("--datasets", type=Path, default=MATERIAL / "datasets", help="a folder")
    parser.add_argument("--backbone", default="mobilenet_v2_035", help="any of the table")
    parser.add_argument("--weights", default="imagenet", help="of the backbone")
    parser.add_argument("--image-size", type=int, default=160, help="pixels")
    parser.add_argument("--trials", type=int, default=30, help="of random and Bayesian search")
    parser.add_argument("--seeds", type=int, default=3, help="of which each has its own search")
    parser.add_argument("--folds", type=int, default=0, help="0 for the validation split alone")
    asked = parser.parse_args()
    print(f"{machine()}; {asked.recipe.name}, {asked.backbone}, {asked.image_size} pixels")
    for name in asked.sets:
        found = {each: [] for each in ALGORITHMS}
        for seed in range(asked.seeds):
            for algorithm in ALGORITHMS:  # Hyperband last: it has the epochs of the random search
                print(f"{name}, seed {seed}: {algorithm}", file=sys.stderr, flush=True)
                epochs = found["random"][seed].epochs if algorithm == "hyperband" else 0
                found[algorithm].append(search(asked, name, algorithm, seed, epochs))
        print(f"\n{name}:\n\n{said(found)}", flush=True)


def search(asked: argparse.Namespace, name: str, algorithm: str, seed: int, epochs: int) -> Found:
    """Searches until so many epochs are trained, or once if none are wanted."""
    folder = asked.output / f"{name}-{algorithm}-{seed}"
    trials = asked.trials
    while True:
        command = [Path(sys.executable).with_name("graft"), "tune", asked.recipe]
        command += ["--output", folder, "--algorithm", algorithm, "--trials", str(trials)]
        command += ["--data.source", asked.datasets / name, "--backbone", asked.backbone]
        command += ["--weights", asked.weights, "--data.image_size", str(asked.image_size)]
        command += ["--seed", str(seed)]
        command += ["--folds", str(asked.folds)] if asked.folds else []
        if not (folder / f"{trials}.done").is_file():
            measure(command, {"GRAFT_CACHE": str(asked.output / "cache")})
            (folder / f"{trials}.done").touch()
        found = read(folder)
        if found.epochs >= epochs:
            return found
        trials += MORE


def read(folder: Path) -> Found:
    """Reads what a search came to."""
    results = json.loads((folder / "results.json").read_text("utf-8"))
    steps = [
        json.loads(line) for line in (folder / "journal.jsonl").read_text("utf-8").splitlines()
    ]
    created = {step["trial"]: step for step in steps if step["event"] == "created"}
    ended = {step["trial"]: step["outcome"] for step in steps if step["event"] == "ended"}

    def answers(trial: int) -> Outcome:
        return Outcome(None, open_run(folder / "trials" / f"{trial:04d}").right_answers())

    def epochs(trial: int) -> int:
        before = created[trial]["continues"]
        curve = ended[trial]["curve"] if ended[trial]["seconds"] else []  # else it was known
        return len(curve) - (len(ended[before]["curve"]) if curve and before is not None else 0)

    return Found(
        len(ended),
        sum(map(epochs, ended)),
        100 * results["inflation"],
        results["validation_accuracy"],
        answers(0),
        answers(results["winner"]),
    )


def said(found: dict[str, list[Found]]) -> str:
    """Writes the table of a set: a row an algorithm, over all seeds."""
    columns = ["algorithm", "trials", "epochs", "winner on validation", "said to flatter by"]
    columns += ["recipe as written", "winner", "gain, points", "against random search, points"]
    rows, random = [], [each.winner for each in found["random"]]
    for algorithm, each in found.items():
        written, winner = [one.written for one in each], [one.winner for one in each]
        rows.append(
            [
                algorithm,
                spread([one.trials for one in each], ".0f"),
                spread([one.epochs for one in each], ".0f"),
                spread([one.validation for one in each], ".3f"),
                spread([one.inflation for one in each]),
                "{:.3f} ({:.3f} to {:.3f})".format(*accuracy(written)),
                "{:.3f} ({:.3f} to {:.3f})".format(*accuracy(winner)),
                points(difference(winner, written)),
                "" if algorithm == "random" else points(difference(winner, random)),
            ]
        )
    return table(columns, rows)


def points(interval: tuple[float, float, float]) -> str:
    """Writes a difference of accuracies with its 95 % interval."""
    return "{:+z.1f} ({:+z.1f} to {:+z.1f})".format(*(100 * each for each in interval))


if __name__ == "__main__":
    main()
