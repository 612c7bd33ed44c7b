"""What graft says when it cannot go on."""

import re


class GraftError(Exception):
    """Something that the user can mend.

    The message is one line: what was found, where, and what to do. The command
    line prints it without a traceback and leaves with `exit_code`.
    """

    exit_code = 2


class RecipeError(GraftError):
    """A recipe, or a setting of one, that makes no sense."""


class DataError(GraftError):
    """Images that cannot be trained on as they lie."""


class WeightsError(GraftError):
    """Weights that are not here, or that do not fit."""


class RunError(GraftError):
    """A run directory that is none, or that cannot be written."""


class NoRoomError(RunError):
    """A file of a run that cannot be written, such as on a full disk."""


class CollapseError(RunError):
    """Pretraining has taught nothing: to its question, the answer is no."""

    exit_code = 1


class ExportError(GraftError):
    """An export that is none, or that cannot be written."""


class EngineError(GraftError):
    """Keras cannot compute with what was chosen."""


class CacheError(GraftError):
    """Features that cannot be kept, or not be found again."""


def decoding_reason(message: str) -> str:
    """Finds what TensorFlow says of some bytes, amid its operations and source lines.

    Args:
        message: Of the error that decoding raised.

    Returns:
        One line without a full stop, such as `The bytes are no image of a known format`.
    """
    asserted = re.search(r"assertion failed: \[(.*?)\]\s", message + "\n", re.DOTALL)
    lines = [asserted.group(1)] if asserted else message.splitlines()
    told = [
        line
        for line in lines
        if line.strip() and not line.startswith((" ", "\t", "Graph execution", "Detected at"))
    ]
    text = re.sub(r"\{\{.*?\}\}|\[Op:.*", "", told[-1] if told else "no image")
    return " ".join(text.split()).rstrip(".")[:160]
