"""Head, then everything: Keras's guide after its two phases against graft's recipes.

    python benchmarks/two_stages.py

`recipes/fine_tune.py` has two stages, too; `recipes/folder.py` has one, with a head that reads all
blocks. Paired processes take turns, each round with its own seed; graft starts with an empty cache.
The goal is a ratio of CPU seconds of at least 6, at the guide's accuracy or a better one.
"""

from comparing import compared, cpu, difference
from measuring import alternate, goal, importing, machine, ratios
from methods import FINE_TUNE, FOLDER, arguments, baseline, graft, setting


def main() -> None:
    """Prints the table."""
    parser = arguments(__doc__.splitlines()[0])
    parser.add_argument("--head-epochs", type=int, default=10, help="of the guide's first phase")
    parser.add_argument("--epochs", type=int, default=5, help="of the guide's second phase")
    asked = parser.parse_args()
    first, second = (1, 1) if asked.quick else (asked.head_epochs, asked.epochs)
    phases = ("--epochs", str(first), "--fine-tune-epochs", str(second))
    shorter = ("--epochs", "1") if asked.quick else ()
    with setting(asked) as given:
        outcomes = alternate(
            {
                "Keras's guide": lambda seed: baseline("guide", given, seed, *phases),
                "fine_tune.py": lambda seed: graft(FINE_TUNE, given, seed, *shorter),
                "graft": lambda seed: graft(FOLDER, given, seed, *shorter),
            },
            asked.rounds,
        )
    print(f"{machine()}; {given.backbone}, {given.image_size} pixels\n")
    print(compared(outcomes, importing()))
    guide = outcomes["Keras's guide"]
    for name, recipe in (("fine_tune.py", "fine_tune.py"), ("graft", "folder.py")):
        ratio = ratios(cpu(guide), cpu(outcomes[name]))
        better = "{:+.3f} ({:+.3f} to {:+.3f})".format(*difference(outcomes[name], guide))
        print(f"\nCPU seconds, the guide / {recipe}: {goal(ratio, 'at least 6')}")
        print(f"accuracy, {recipe} - the guide: {better}; wanted: no lower than 0")


if __name__ == "__main__":
    main()
