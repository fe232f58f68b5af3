"""What an examination comes to: findings, each with what to do."""

from dataclasses import dataclass
from typing import Literal

# A fault is of what is required; a note of what can be done without.
State = Literal["ok", "note", "fault"]


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes
    ----------
    topic : str
        What it belongs to, such as ``"engine"``.
    name : str
    state : str
    found : str
        What is there.
    advice : str
        What to do; empty where nothing is to be done.
    """

    topic: str
    name: str
    state: State
    found: str
    advice: str = ""
