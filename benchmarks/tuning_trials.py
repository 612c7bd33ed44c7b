"""Twenty trials of a head, as a search makes them: over images, against over shared features.

    python benchmarks/tuning_trials.py

The trials differ in learning rate and dropout. They are trained one after the other in one process,
each with a fresh head on the backbone that was built once, on the images that were looked at once;
one process has `cache=false`, the other an empty cache, which its first trial fills. Over images a
trial costs minutes and the same each time: three are measured, and the sum is scaled to all. The
goal is a ratio of CPU seconds of at least 40.
"""

import json
import os
import sys
import tempfile
import time
from pathlib import Path

from measuring import alternate, goal, importing, machine, measure, ratios, spread, table
from methods import ONE_STAGE, Setting, arguments, setting

RATES, DROPOUTS = (3e-4, 1e-3, 3e-3, 1e-2), (0.0, 0.1, 0.2, 0.35, 0.5)


def main() -> None:
    """Prints the table."""
    parser = arguments(__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=20, help="20 at most")
    parser.add_argument("--epochs", type=int, default=10, help="of each trial")
    parser.add_argument("--over-images", type=int, default=3, help="trials measured over images")
    parser.set_defaults(rounds=1)
    asked = parser.parse_args()
    trials, epochs = (2, 2) if asked.quick else (asked.trials, asked.epochs)
    with setting(asked) as given:

        def search(cache: str):
            count = trials if cache == "true" else min(trials, asked.over_images)
            return lambda seed: searched(given, cache, seed, count, trials, epochs)

        names = ("over images", "over features")
        methods = zip(names, map(search, ("false", "true")), strict=True)
        found = alternate(dict(methods), asked.rounds)
    print(f"{machine()}; {given.backbone}, {given.image_size} pixels, {trials} trials\n")
    rows = []
    for name, each in found.items():
        whole, later = zip(*each, strict=True)
        rows.append([name, spread(whole), spread(later, ".2f")])
    print(table(("trials", "CPU seconds of all", "of one, the first left out"), rows))
    started = importing()
    images, features = ([whole for whole, _ in found[name]] for name in names)
    print(f"\nCPU seconds, images / features: {goal(ratios(images, features), 'at least 40')}")
    beyond = ratios([x - started for x in images], [x - started for x in features])
    print(f"the same beyond importing: {spread(beyond, '.2f')}")
    later = ratios(*([each for _, each in found[name]] for name in names))
    print(f"of a trial after the first: {spread(later, '.2f')}")


def searched(
    given: Setting, cache: str, seed: int, count: int, trials: int, epochs: int
) -> tuple[float, float]:
    """Returns the CPU seconds of a process of all trials, and of one trial after its first.

    So many as `count` are made; those that are left out are taken to cost what one cost.
    """
    settings = {
        "data.source": str(given.images),
        "data.image_size": given.image_size,
        "backbone": given.backbone,
        "weights": given.weights,
        "seed": seed,
        "epochs": epochs,
        "cache": cache == "true",
    }
    with tempfile.TemporaryDirectory() as temporary:
        code = "import sys; sys.path.insert(0, sys.argv[1]); import tuning_trials as t; t.trials()"
        command = [sys.executable, "-c", code, Path(__file__).parent]
        place = {"GRAFT_CACHE": str(Path(temporary, "cache"))}
        used = measure([*command, json.dumps(settings), str(count)], place)
    seconds = json.loads(used.output.splitlines()[-1])
    later = sum(seconds[1:]) / max(count - 1, 1)
    return used.cpu_seconds + (trials - count) * later, later


def trials() -> None:
    """Trains the trials in this process, and prints the CPU seconds of each."""
    from app import override, verbs
    from app.recipe_file import load_recipe_file

    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    settings, count = json.loads(sys.argv[2]), int(sys.argv[3])
    recipe = override(load_recipe_file(ONE_STAGE).recipe, settings)
    prepare = verbs.load("app.preparation").prepare
    prepared = None
    grid = [(rate, dropout) for dropout in DROPOUTS for rate in RATES]
    seconds = []
    with tempfile.TemporaryDirectory() as temporary:
        for number, (rate, dropout) in enumerate(grid[:count]):
            began = time.process_time()
            trial = override(recipe, {"learning_rate": rate, "head.dropout": dropout})
            prepared = prepare(trial, prepared and prepared.index, prepared)
            prepared.trainer(Path(temporary, str(number))).train(trial.stages)
            seconds.append(time.process_time() - began)
    print(json.dumps(seconds))


if __name__ == "__main__":
    main()
