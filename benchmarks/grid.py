"""The recipe of `one_stage.py` with a grid of twenty heads to search, itself among them."""

from one_stage import recipe

from app import main

RATES, DROPOUTS = (3e-4, 1e-3, 3e-3, 1e-2), (0.0, 0.1, 0.2, 0.35, 0.5)


def search(hp):
    hp.Choice("learning_rate", list(RATES))
    hp.Choice("head.dropout", list(DROPOUTS))


if __name__ == "__main__":
    main(recipe)
