"""What an export is to hold. Standard library only, so that mistakes are said at once."""

from __future__ import annotations

from dataclasses import dataclass

from app.errors import ExportError

FORMATS = ("savedmodel", "litert", "onnx")
TOP_K = 5


@dataclass(frozen=True)
class Request:
    """What is asked of an export.

    Attributes:
        formats: Of `FORMATS`; the SavedModel is always written.
        calibrate: Whether probabilities are calibrated by a temperature.
        unsure_below: Answers of a lower probability say that they are unsure; None for no such
            output.
        top_k: How many of the likeliest classes are listed.
        certified: Whether it is compared with Keras, on the validation images.
    """

    formats: tuple[str, ...] = ("savedmodel",)
    calibrate: bool = False
    unsure_below: float | None = None
    top_k: int = TOP_K
    certified: bool = True

    def __post_init__(self) -> None:
        """Makes sure that it makes sense.

        Raises:
            ExportError: If it does not.
        """
        unknown = [name for name in self.formats if name not in FORMATS]
        if unknown:
            raise ExportError(f"--formats has {unknown[0]!r}: take of {', '.join(FORMATS)}")
        if self.unsure_below is not None and not 0 < self.unsure_below <= 1:
            raise ExportError(
                f"--unsure-below is {self.unsure_below:g}: it is a probability, over 0, up to 1"
            )
        if self.top_k < 1:
            raise ExportError(f"--top-k is {self.top_k}: list one class at least")
        if self.calibrate and not self.certified:
            raise ExportError(
                "--calibrate and --uncertified: the first needs the images that the second does"
                " without"
            )


def to_words(request: Request) -> list[str]:
    """Writes a request as it is typed."""
    words = ["--formats", ",".join(request.formats), "--top-k", str(request.top_k)]
    words += ["--calibrate"] if request.calibrate else []
    words += [] if request.certified else ["--uncertified"]
    below = request.unsure_below
    return words if below is None else [*words, "--unsure-below", repr(below)]
