"""A table as it grows: what is in it survives a kill."""

import csv
import io
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from defectseg.atomic import write_atomically

_UNFINISHED = ".part"


class GrowingTable:
    """A CSV file under a temporary name, to which rows are added whole or not at all.

    Parameters
    ----------
    path : Path
        The name it gets in the end.
    columns : sequence of str
    resume : bool
        Go on with what is there, under either name.

    Raises
    ------
    OSError
        If it cannot be written.
    """

    def __init__(self, path: Path, columns: Sequence[str], *, resume: bool) -> None:
        self._path = path
        self._columns = tuple(columns)
        self._header = dict(zip(columns, columns, strict=True))
        self._unfinished = path.with_name(path.name + _UNFINISHED)
        if not resume:
            self._unfinished.write_bytes(b"")
        elif not self._unfinished.exists():
            write_atomically(self._unfinished, path.read_bytes() if path.exists() else b"")
        self._cut_torn_row()
        self._file = self._unfinished.open("ab", buffering=0)
        self._size = self._unfinished.stat().st_size
        if not self._size:
            self.append(self._header)

    def rows(self) -> Iterator[dict[str, str]]:
        """Yield the rows as text, in the order in which they were added."""
        # "\r" within a name is no end of a row.
        with self._unfinished.open(encoding="utf-8", newline="") as file:
            reader = csv.reader(file)
            next(reader, None)
            for values in reader:
                yield dict(zip(self._columns, values, strict=True))

    def append(self, *rows: Mapping[str, Any]) -> None:
        """Add rows, all of them or none."""
        data = self._encode(rows)
        try:
            while data:
                data = data[self._file.write(data) :]
        except BaseException:
            os.ftruncate(self._file.fileno(), self._size)  # a full disk takes part of a row
            raise
        self._size = self._file.tell()

    def publish(self, rows: Iterator[Mapping[str, Any]] | None = None) -> None:
        """Give the table its name; with other rows than it grew by, if they are given."""
        if rows is not None:
            write_atomically(self._unfinished, self._encode([self._header, *rows]))
        self._unfinished.replace(self._path)

    def close(self) -> None:
        """Close the file; what is in it stays."""
        self._file.close()

    def _encode(self, rows: Sequence[Mapping[str, Any]]) -> bytes:
        # A file name that is not valid Unicode is kept, escaped, rather than refused.
        return "".join(map(self._encode_row, rows)).encode("utf-8", "backslashreplace")

    def _encode_row(self, row: Mapping[str, Any]) -> str:
        text = io.StringIO()
        # Only by this end of line it also quotes a name that holds "\r".
        csv.DictWriter(text, self._columns, lineterminator="\r\n").writerow(row)
        return text.getvalue().removesuffix("\r\n") + "\n"

    def _cut_torn_row(self) -> None:
        """Cut off a last row that is not whole: a kill may come while it is written."""
        data = self._unfinished.read_bytes()
        end = len(data)
        while end:
            end = data.rfind(b"\n", 0, end) + 1
            if not end:
                break
            text = data[:end].decode("utf-8", "replace")
            rows = list(csv.reader(io.StringIO(text, newline=""), strict=False))
            if rows and all(len(row) == len(self._columns) for row in rows):
                break
            end -= 1  # that end of line was within a quoted name
        os.truncate(self._unfinished, end)
