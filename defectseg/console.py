"""What a person sees in the terminal: progress, tables, and where the results are."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

out = Console(highlight=False, soft_wrap=True)
err = Console(highlight=False, soft_wrap=True, stderr=True)

_COLOURS = {"FAIL": "red", "REVIEW": "yellow", "RETAKE": "magenta", "ERROR": "bright_black"}


def bold(path: Path) -> str:
    """Return a path as markup in bold; its own square brackets stay what they are."""
    return f"[bold]{escape(str(path))}[/]"


def _progress(*columns: ProgressColumn) -> Progress:
    # No bar in a notebook: there it would need a package of its own, and warns without it.
    return Progress(*columns, console=err, transient=True, disable=err.is_jupyter)


@contextmanager
def counting(what: str, *, rate: bool = False) -> Iterator[Callable[[int], None]]:
    """Show a bar with count and time left; yields a function to call with the total each time."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        *((_Rate(),) if rate else ()),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with _progress(*columns) as progress:
        task = progress.add_task(what, total=None)

        def tick(total: int) -> None:
            progress.update(task, total=total, advance=1)

        yield tick


@contextmanager
def counting_bytes(what: str) -> Iterator[Callable[[int, int], None]]:
    """Show how much of a file has come; yields a function to call with that and the total, or 0."""
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeElapsedColumn())
    with Progress(*columns, console=err, transient=True) as progress:
        task = progress.add_task(what, total=None)

        def tick(done: int, total: int) -> None:
            progress.update(task, completed=done, total=total or None)

        yield tick


@contextmanager
def working(what: str) -> Iterator[None]:
    """Show that something is being done whose length nobody knows."""
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with _progress(*columns) as progress:
        progress.add_task(what, total=None)
        yield


@contextmanager
def inspecting(
    shown: Literal["progress", "nothing", "json-lines"],
) -> Iterator[Callable[[Mapping[str, object], int], None]]:
    """Show each image that was inspected; yields a function to call with its row and the total."""
    if shown == "nothing":
        yield lambda row, total: None
    elif shown == "json-lines":
        yield lambda row, total: print_json({"event": "image", **row, "total": total})
    else:
        with counting("inspecting", rate=True) as tick:
            yield lambda row, total: tick(total)


def print_json(record: Mapping[str, object]) -> None:
    """Print a record as a line of JSON, at once, in ASCII: every name comes through."""
    print(json.dumps(record), flush=True)


class _Rate(ProgressColumn):
    """How many a second."""

    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:.1f} a second" if task.speed else "")


class TrainingProgress:
    """A `segmentation.pace.Monitor` that shows a bar, and a line an epoch."""

    def __init__(self) -> None:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(elapsed_when_finished=True),
        )
        self._progress = _progress(*columns)
        self._task = self._progress.add_task("starting", total=1.0)

    def __enter__(self) -> "TrainingProgress":
        self._progress.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._progress.stop()

    def step(self, progress: float, epoch: int, loss: float) -> None:
        """Move the bar."""
        text = f"epoch {epoch}  loss {loss:.3f}"
        self._progress.update(self._task, completed=progress, description=text)

    def epoch(self, row: Mapping[str, float], best: bool) -> None:
        """Print the epoch's figures; the best has the highest of the lower of both IoU."""
        self._progress.console.print(
            f"epoch {row['epoch']:>3.0f}   loss {row['loss']:.3f}   validation: loss "
            f"{row['val_loss']:.3f}, IoU {row['val_defective_iou']:.3f} over defective images, "
            f"{row['val_iou']:.3f} over all pixels   {row['seconds']:.0f} s"
            f"{'   best so far' if best else ''}"
        )


def print_table(title: str, rows: Sequence[Mapping[str, object]]) -> None:
    """Print records as a table, one row each."""
    table = Table(title=title, title_justify="left")
    for position, name in enumerate(rows[0]):
        # Where there is little room, folded rather than cut off.
        justify: Literal["left", "right"] = "right" if position else "left"
        table.add_column(name.replace("_", " "), justify=justify, overflow="fold")
    for row in rows:
        table.add_row(*(str(value) for value in row.values()))
    out.print(table)


def print_outcomes(outcomes: Mapping[str, int]) -> None:
    """Print how many images had each outcome, in colours."""
    parts = [
        f"[{_COLOURS.get(name, 'green')}]{name} {count}[/]"
        for name, count in sorted(outcomes.items(), key=lambda item: -item[1])
    ]
    out.print("   ".join(parts))
