"""Graft: transfer learning on images, from a folder to a SavedModel that answers.

These are the names that recipes use. None of them loads TensorFlow before it is called.
"""

from app.cli import main
from app.pretrain_recipe import Pretraining, Unlabelled
from app.recipe import Augmentation, Data, Head, Recipe, Stage, override
from app.run_directory import Run
from app.verbs import evaluate, export, load_steps, run
from app.version import __version__

__all__ = [
    "Augmentation",
    "Data",
    "Head",
    "Pretraining",
    "Recipe",
    "Run",
    "Stage",
    "Unlabelled",
    "__version__",
    "evaluate",
    "export",
    "load_steps",
    "main",
    "override",
    "run",
]
