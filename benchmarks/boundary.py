"""Training the top of a backbone: over images, against from what is kept at the frozen boundary.

    python benchmarks/boundary.py

The same recipe of one stage, once with `--cache false` and once with an empty cache of features,
which it fills first. Paired processes take turns, each round with its own seed. The goals are
ratios of CPU seconds of at least 3 for the top block and 2 for the top four.
"""

from argparse import Namespace

from comparing import compared, cpu
from measuring import alternate, goal, importing, machine, ratios
from methods import ONE_STAGE, Outcome, arguments, graft, setting

GOALS = {"top:1": "at least 3", "top:4": "at least 2"}


def main() -> None:
    """Prints a table for each depth."""
    parser = arguments(__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=10, help="of the stage")
    parser.add_argument("--learning-rate", default="1e-4", help="constant")
    asked = parser.parse_args()
    changes = ["--epochs", "2" if asked.quick else str(asked.epochs)]
    changes += ["--learning_rate", asked.learning_rate]
    print(f"{machine()}; {asked.backbone}\n")
    for depth, wanted in GOALS.items():
        outcomes = both(asked, [*changes, "--unfreeze", depth])
        ratio = ratios(cpu(outcomes["without cache"]), cpu(outcomes["graft"]))
        print(f"## {depth}\n\n{compared(outcomes, importing())}\n")
        print(f"CPU seconds, without / with: {goal(ratio, wanted)}\n", flush=True)


def both(asked: Namespace, changes: list[str]) -> dict[str, list[Outcome]]:
    """Trains without and with the cache, turn by turn."""
    with setting(asked) as given:
        methods = {
            "without cache": lambda s: graft(ONE_STAGE, given, s, *changes, "--cache", "false"),
            "graft": lambda s: graft(ONE_STAGE, given, s, *changes),
        }
        return alternate(methods, asked.rounds)


if __name__ == "__main__":
    main()
