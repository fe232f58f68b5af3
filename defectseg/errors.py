"""The errors a user reads: what was found, what was expected, what to do."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

# Problems are of a kind if they expect the same and are mended alike, numbers apart.
_NUMBER = re.compile(r"[0-9]+")
_MOST_OF_A_KIND = 20


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

    Its text has the first 20 of each kind, and counts the others.

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
        super().__init__("\n".join([summary, *_list_problems(self.problems)]))


def _list_problems(problems: Sequence[Problem]) -> Iterator[str]:
    """Yield a line a problem, and a line for those that are too many of a kind to be read."""
    kinds = [(_NUMBER.sub("", own.expected), _NUMBER.sub("", own.fix)) for own in problems]
    count = Counter(kinds)
    said: Counter[tuple[str, str]] = Counter()
    for problem, kind in zip(problems, kinds, strict=True):
        said[kind] += 1
        if said[kind] <= _MOST_OF_A_KIND:
            yield f"  - {problem}"
        elif said[kind] == _MOST_OF_A_KIND + 1:
            yield f"    and {count[kind] - _MOST_OF_A_KIND:,} more of this kind"
