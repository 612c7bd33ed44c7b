"""What a server answers when it does not do what was asked. Standard library only."""

from __future__ import annotations

from typing import Any

_SHOWN = 60  # characters of what a request holds: an answer is no echo


class ServingError(Exception):
    """Answered with a status and a message that says what was found, where, and what to do.

    Attributes:
        status: Of HTTP.
        code: Name of the status of gRPC.
    """

    status, code = 500, "INTERNAL"


class BadRequestError(ServingError):
    """A request that makes no sense; the message names the field."""

    status, code = 400, "INVALID_ARGUMENT"


class NotHereError(ServingError):
    """A model, version or path that is not here."""

    status, code = 404, "NOT_FOUND"


class TooSlowError(ServingError):
    """A body that does not come."""

    status, code = 408, "DEADLINE_EXCEEDED"


class TooLargeError(ServingError):
    """More bytes or rows than are taken."""

    status, code = 413, "INVALID_ARGUMENT"


class BusyError(ServingError):
    """As much waits as can be answered in time: said at once rather than late."""

    status, code = 429, "RESOURCE_EXHAUSTED"


class TooLateError(ServingError):
    """The deadline of a request passed while it waited."""

    status, code = 504, "DEADLINE_EXCEEDED"


class StoppingError(ServingError):
    """The server is about to stop, or has no model yet."""

    status, code = 503, "UNAVAILABLE"


class NotOfferedError(ServingError):
    """A method of the protocol that this server does not have."""

    status, code = 501, "UNIMPLEMENTED"


def shown(value: Any) -> str:
    """Writes what a request holds as an answer may quote it: short, and on one line."""
    if isinstance(value, str):
        return repr(value[:_SHOWN]) + "..." * (len(value) > _SHOWN)
    text = repr(value)
    return text[:_SHOWN] + "..." * (len(text) > _SHOWN)
