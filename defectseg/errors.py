"""The errors a user reads: what was found, what was expected, what to do."""

from collections.abc import Sequence
from dataclasses import dataclass


class DefectsegError(Exception):
    """Base of every error that is shown to the user as a message, without a traceback."""


class ConfigError(DefectsegError):
    """A setting is unknown, of the wrong type, or out of range."""


class ImageReadError(DefectsegError):
    """A file could not be turned into an image."""


@dataclass(frozen=True)
class Problem:
    """One thing wrong in the data.

    Attributes
    ----------
    where : str
        File, with the line where there is one, as ``labels.txt:12``.
    found, expected, fix : str
        What is there, what should be, and what the user can do.
    """

    where: str
    found: str
    expected: str
    fix: str

    def __str__(self) -> str:
        return f"{self.where}: found {self.found}; expected {self.expected}. {self.fix}"


class DataError(DefectsegError):
    """Labels, images or a folder are not as they should be; carries every problem at once.

    Parameters
    ----------
    summary : str
        One line that says what could not be done.
    problems : sequence of Problem
        All of them, in the order of the files.
    """

    def __init__(self, summary: str, problems: Sequence[Problem] = ()) -> None:
        self.summary = summary
        self.problems = tuple(problems)
        lines = [summary, *(f"  - {problem}" for problem in self.problems)]
        super().__init__("\n".join(lines))
