"""What goes wrong, as exceptions."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from . import _native

T = TypeVar("T")


@dataclass(frozen=True)
class Mistake:
    """One mistake in a scenario."""

    file: str
    """The file as it was named, or ``--set`` for an override."""
    line: int
    """From 1; the number of the override, for an override; 0 for the file as a whole."""
    column: int
    """In characters, from 1; 0 for the file as a whole."""
    length: int
    """Characters that are wrong."""
    message: str
    """What is wrong."""
    help: str | None
    """What to do about it."""
    source_line: str
    """The line on which it stands."""


class EvenkeelError(Exception):
    """Something that ends the command with an exit code other than 0."""

    exit_code: int = 1
    """What the command would have ended with."""


class InternalError(EvenkeelError):
    """A fault in Evenkeel: please report it."""


class UsageError(EvenkeelError):
    """Something that the caller can mend."""

    exit_code = 2


class ScenarioError(UsageError):
    """Mistakes in a scenario."""

    def __init__(self, message: str, mistakes: list[Mistake]) -> None:
        super().__init__(message)
        self.mistakes = mistakes
        """All mistakes, in order of position."""

    @property
    def file(self) -> str:
        """The file of the first mistake."""
        return self.mistakes[0].file

    @property
    def line(self) -> int:
        """The line of the first mistake, from 1."""
        return self.mistakes[0].line

    @property
    def column(self) -> int:
        """The column of the first mistake, from 1."""
        return self.mistakes[0].column


class NothingRan(EvenkeelError):
    """There was nothing to do: no expectation to check, no valid line in a log."""

    exit_code = 4


class IncompleteSweep(EvenkeelError):
    """Parts of a sweep are missing."""

    exit_code = 5


_BY_EXIT_CODE: dict[int, type[EvenkeelError]] = {2: UsageError, 4: NothingRan, 5: IncompleteSweep}


def call(function: Callable[..., T], *arguments: Any) -> T:
    """Calls a native function; its failures become exceptions of this module."""
    try:
        return function(*arguments)
    except _native.CommandFailed as failed:
        exit_code, message, mistakes = failed.args
        found = [Mistake(**mistake) for mistake in json.loads(mistakes)]
    if found:
        raise ScenarioError(message, found)
    raise _BY_EXIT_CODE.get(exit_code, InternalError)(message)
