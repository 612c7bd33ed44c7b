"""The steps of a run, for scripts that take them one by one; see `recipes/step_by_step.py`."""

from app.backbones.build import build_backbone
from app.backbones.table import find_backbone
from app.data.augmentation import Augmenter
from app.data.batches import measuring_batches, steps_per_epoch, training_batches
from app.data.index import build_index
from app.data.kept import KeptImages
from app.data.mixing import Mixing
from app.data.sources import list_images
from app.models import build_model, unfreeze
from app.preparation import build_classifier
from app.prepared import task_of
from app.run_directory import new_run
from app.runs import record, save
from app.training.callbacks import Progress
from app.training.compiling import compile_for
from app.training.devices import set_up

__all__ = [
    "Augmenter",
    "KeptImages",
    "Mixing",
    "Progress",
    "build_backbone",
    "build_classifier",
    "build_index",
    "build_model",
    "compile_for",
    "find_backbone",
    "list_images",
    "measuring_batches",
    "new_run",
    "record",
    "save",
    "set_up",
    "steps_per_epoch",
    "task_of",
    "training_batches",
    "unfreeze",
]
