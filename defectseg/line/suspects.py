"""Files that were being inspected when the process died: one may be what killed it."""

import json
import logging
from collections.abc import Iterable
from pathlib import Path

from defectseg.atomic import write_atomically

log = logging.getLogger(__name__)

_FILE = "under_way.json"
_MOST_DEATHS = 5  # a power cut, or a person who kills it, is not the file's fault


class Suspects:
    """Counts how often the process died while a file was under way, over its restarts.

    Parameters
    ----------
    folder : Path
        The station's.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / _FILE
        self._under_way: list[str] = []
        self._deaths = {name: count + 1 for name, count in self._read().items()}

    def note(self, under_way: Iterable[str]) -> None:
        """Say which files are under way, each by what tells its content from another's.

        Written without waiting for the disk: it outlives the process, which is enough.
        """
        names = list(under_way)
        if names != self._under_way:
            self._under_way = names
            deaths = {name: self._deaths.get(name, 0) for name in names}
            write_atomically(self._path, json.dumps(deaths))

    def suspects(self, name: str) -> bool:
        """Return whether the process died while a file was under way: it is to be alone then."""
        return self._deaths.get(name, 0) > 0

    def count(self, name: str) -> int:
        """Return how often the process died while a file was under way, if that is too often."""
        deaths = self._deaths.get(name, 0)
        return deaths if deaths >= _MOST_DEATHS else 0

    def _read(self) -> dict[str, int]:
        try:
            return {
                str(name): int(count) for name, count in json.loads(self._path.read_text()).items()
            }
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, AttributeError) as error:
            log.warning("%s cannot be read and is begun anew: %s", self._path, error)
            return {}
