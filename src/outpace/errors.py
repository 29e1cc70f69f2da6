"""What can go wrong, said to the person who can mend it.

The sentence lives in the class, the facts are attributes, and `STATUS` maps each class to an exit code and an HTTP
status.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def nearest(name: str, known: Iterable[str]) -> str:
    """Return `; did you mean 'x'?` for the closest known name, or an empty string."""
    from difflib import get_close_matches  # only a mistake should pay for importing it

    match = get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"; did you mean '{match[0]}'?" if match else ""


def readable_bytes(n: int) -> str:
    """Return a byte count as a person reads it: `98.4 MB`, `1.2 GB`."""
    size = float(n)
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


class OutpaceError(Exception):
    """The root of every error a user can cause or meet."""


class ModelFileError(OutpaceError):
    """A model file is missing, damaged or not what it says it is."""

    def __init__(self, path: object, problem: str, where: str = "") -> None:
        self.path, self.problem, self.where = str(path), problem, where
        super().__init__(f"{self.path}: {where + ': ' if where else ''}{problem}")


class UnsupportedError(OutpaceError):
    """Something well formed that outpace cannot run; lists what it can."""

    def __init__(self, what: str, name: str, supported: Sequence[str]) -> None:
        self.what, self.name, self.supported = what, name, tuple(supported)
        super().__init__(
            f"{what} '{name}' is not supported{nearest(name, supported)} (supported: {', '.join(supported)})"
        )


class ConfigError(OutpaceError):
    """A setting is unknown or out of range."""

    def __init__(self, setting: str, found: object, expected: str) -> None:
        self.setting, self.found, self.expected = setting, found, expected
        super().__init__(f"{setting} is {found!r}; expected {expected}")


class ResourceError(OutpaceError):
    """Memory (or another resource) is short: what is needed, what there is, what would fit."""

    def __init__(self, what: str, needed_bytes: int, available_bytes: int, fits: str = "") -> None:
        self.what, self.needed_bytes, self.available_bytes, self.fits = what, needed_bytes, available_bytes, fits
        super().__init__(
            f"{what} needs {readable_bytes(needed_bytes)}, {readable_bytes(available_bytes)} available"
            + (f"; {fits}" if fits else "")
        )


class BackendError(OutpaceError):
    """The machine cannot run a backend or a kernel tier, or not train a head that would be of use."""


class RequestError(OutpaceError):
    """A request asks for something that cannot be done."""


class FetchError(OutpaceError):
    """A model could not be fetched or its checksum is wrong."""


# class -> (exit code, HTTP status); the first match along the class's own ancestry counts.
STATUS: dict[type[BaseException], tuple[int, int]] = {
    ModelFileError: (3, 500),
    UnsupportedError: (4, 501),
    ConfigError: (2, 400),
    ResourceError: (5, 503),
    BackendError: (6, 500),
    RequestError: (2, 400),
    FetchError: (7, 502),
    OutpaceError: (1, 500),
}


def status_of(error: BaseException) -> tuple[int, int]:
    """Return (exit code, HTTP status) for an error."""
    for cls in type(error).__mro__:
        if cls in STATUS:
            return STATUS[cls]
    return (1, 500)
