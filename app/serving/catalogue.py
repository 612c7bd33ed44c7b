"""Which versions of which models are served."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from app.exports.loaded import Loaded
from app.serving.errors import NotHereError, shown

# The states of TensorFlow Serving, which its clients know.
LOADING, AVAILABLE, UNLOADING, END = "LOADING", "AVAILABLE", "UNLOADING", "END"


@dataclass(frozen=True)
class State:
    """What has become of a version.

    Attributes:
        name: Of TensorFlow Serving.
        problem: Why it is not served; empty if nothing is wrong.
    """

    name: str
    problem: str = ""


@dataclass(eq=False)
class Served:
    """A version that answers.

    Attributes:
        model: Name of its model.
        number: Of the version.
        network: What answers.
        card: Of the export.
        signatures: Their inputs and outputs, by name.
        blank: The row of a file that cannot be read, by output.
        requests: That are being answered; it is not let go before there are none.
    """

    model: str
    number: int
    network: Loaded
    card: Mapping[str, Any]
    signatures: Mapping[str, Any]
    blank: Mapping[str, Any]
    requests: int = 0

    @contextmanager
    def busy(self) -> Iterator[None]:
        """Counts a request."""
        self.requests += 1
        try:
            yield
        finally:
            self.requests -= 1


@dataclass
class Model:
    """A folder of versions.

    Attributes:
        name: As requests have it.
        folder: Holds the versions.
        only: The one version that is served, if the folder was named with it.
        versions: That answer, by number.
        states: Of all that were ever found, by number.
    """

    name: str
    folder: Path
    only: int | None = None
    versions: dict[int, Served] = field(default_factory=dict)
    states: dict[int, State] = field(default_factory=dict)

    @property
    def newest(self) -> Served | None:
        """What answers requests that name no version."""
        return self.versions[max(self.versions)] if self.versions else None


class Catalogue:
    """All models, by name. Only the event loop reads and changes what is in it."""

    def __init__(self, models: Sequence[Model]) -> None:
        """Takes models of different names."""
        self.models = {model.name: model for model in models}

    @property
    def is_ready(self) -> bool:
        """Whether every model has a version that answers."""
        return all(model.versions for model in self.models.values())

    def model(self, name: str | None) -> Model:
        """Finds a model; the only one need not be named.

        Raises:
            NotHereError: If there is none of that name.
        """
        if name is None and len(self.models) == 1:
            return next(iter(self.models.values()))
        if name not in self.models:
            known = ", ".join(sorted(self.models))
            named = "model: name one of several" if name is None else f"model {shown(name)}"
            raise NotHereError(f"{named}; there are {known}")
        return self.models[name]

    def find(self, name: str | None, number: int | None = None) -> Served:
        """Finds what answers a request.

        Args:
            name: Of the model.
            number: Of the version; the newest if None.

        Raises:
            NotHereError: If it is not served.
        """
        model = self.model(name)
        found = model.newest if number is None else model.versions.get(number)
        if found is None:
            known = ", ".join(map(str, sorted(model.versions, reverse=True))) or "none"
            version = "newest version" if number is None else f"version {shown(number)}"
            raise NotHereError(f"{version} of model {model.name} is not served: {known} is")
        return found

    def states(self, name: str, number: int | None = None) -> dict[int, State]:
        """Tells what has become of the versions of a model, or of one.

        Raises:
            NotHereError: If it was never found.
        """
        found = self.model(name).states
        if number is not None and number not in found:
            raise NotHereError(f"version {number} of model {name} was never here")
        return found if number is None else {number: found[number]}
