"""What each command of the line does: start, verify, export, with a clear end."""

import logging
import os
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

from rich.logging import RichHandler

from defectseg.commands.status import OK, SOMETHING_WRONG
from defectseg.console import bold, err, out

_TURN_S = 0.0005


def run(
    model: Path,
    station: Path,
    *,
    inbox: Path | None,
    take: bool,
    product: str | None,
    rules: Path | None,
    config: Path | None,
    host: str,
    port: int,
    token_file: Path | None,
) -> None:
    """Run a station until a signal ends it."""
    from defectseg.line.assembly import Line, Setup
    from defectseg.line.server import check_access, read_token, serve
    from defectseg.line.settings import load_line_settings

    # Threads that decode, measure and answer take turns more often than Python's 5 ms.
    sys.setswitchinterval(_TURN_S)
    # Of a folder that is made while its parent is looked through: it is watched all the same.
    warnings.filterwarnings("ignore", "Callback with id", RuntimeWarning)
    settings = load_line_settings(config)
    token = read_token(token_file, os.environ.get("DEFECTSEG_TOKEN"))
    check_access(host, token)
    logging.basicConfig(
        level=logging.WARNING,
        format="%(message)s",
        datefmt="%Y-%m-%d %H:%M:%S",
        handlers=[RichHandler(console=err, show_path=False, markup=False)],
    )
    line = Line(
        Setup(
            station,
            bundle=model,
            inbox=inbox,
            product=product,
            remove=take,
            rules=rules,
            settings=settings,
        )
    )

    def tell(address: str) -> None:
        current = line.models.current
        if current is None:
            err.print(f"[bold red]There is no model[/]: {line.models.problem}", markup=True)
        else:
            out.print(f"{current.name} judges: {', '.join(current.products)}.")
        if inbox is not None:
            out.print(f"Images put into {bold(inbox)} are inspected.")
        out.print(f"Everything is recorded in {bold(station)}.")
        out.print(f"Open [bold]{address}[/]; Ctrl-C ends the station.")

    try:
        serve(line, host=host, port=port, token=token, on_start=tell)
    finally:
        line.close()
        out.print(f"The station has ended; its ledger is in {bold(station)}.")


def verify(station: Path, heads: Sequence[str]) -> int:
    """Check a ledger; return the exit status."""
    from defectseg.line.ledger import verify as verify_ledger

    chains = verify_ledger(station, heads)
    problems = [problem for chain in chains for problem in chain.problems]
    for chain in chains:
        out.print(f"{chain.rows:>9,} {chain.table:<12} last hash {chain.head}")
    for problem in problems:
        err.print(f"[bold red]{problem}[/]")
    if not problems:
        out.print(
            "Every row is as it was written. Note the last hashes elsewhere: with --head they show "
            "later that nothing was cut off."
        )
    return SOMETHING_WRONG if problems else OK


def export(station: Path, output: Path) -> None:
    """Write the inspections of a ledger as a table."""
    from defectseg.line.export import write_inspections

    count = write_inspections(station, output)
    out.print(f"{count:,} inspections are in {bold(output)}.")
