"""A head under a frozen backbone, ten epochs with augmentation: Keras's guide against graft.

    python benchmarks/head_stage.py

Paired processes take turns, each round with its own seed; graft starts with an empty cache, so
that its features are computed in what is measured, and measures validation too, which the guide
does not. graft is `recipes/folder.py` with as many epochs as the guide; the guide's head in graft
is the same head as the guide's, on the last features alone. The goal is a ratio of CPU seconds of
at least 15, at no lower test accuracy. The guide reads and varies its images anew in every epoch;
the row with its cache is the guide of 2023 and later, whose pipeline keeps the first epoch's
varied batches.
"""

from comparing import compared, cpu
from measuring import alternate, goal, importing, machine, ratios
from methods import FOLDER, ONE_STAGE, arguments, baseline, graft, setting


def main() -> None:
    """Prints the table."""
    parser = arguments(__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=10, help="of the head")
    asked = parser.parse_args()
    epochs = ("--epochs", "2" if asked.quick else str(asked.epochs))
    with setting(asked) as given:
        outcomes = alternate(
            {
                "Keras's guide": lambda seed: baseline("guide", given, seed, *epochs),
                "with its cache": lambda seed: baseline("guide", given, seed, *epochs, "--cache"),
                "the guide's head in graft": lambda seed: graft(ONE_STAGE, given, seed, *epochs),
                "graft": lambda seed: graft(FOLDER, given, seed, *epochs),
            },
            asked.rounds,
        )
    print(f"{machine()}; {given.backbone}, {given.image_size} pixels\n")
    print(compared(outcomes, importing()))
    ratio = ratios(cpu(outcomes["Keras's guide"]), cpu(outcomes["graft"]))
    print(f"\nCPU seconds, the guide / graft: {goal(ratio, 'at least 15')}")


if __name__ == "__main__":
    main()
