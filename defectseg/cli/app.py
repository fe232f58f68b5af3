"""The command `defectseg`: what all its commands have in common."""

import io
import os
import sys
import threading
from typing import Annotated

import typer
from rich.markup import escape

from defectseg import __version__
from defectseg.commands.status import FAULT, INTERRUPTED, USAGE
from defectseg.console import err
from defectseg.errors import DefectsegError


class _Commands(typer.core.TyperGroup):
    """Turns errors of data, settings and files into one message and exit status 2."""

    def invoke(self, ctx: typer.Context) -> object:  # type: ignore[override]
        for stream in (sys.stdout, sys.stderr):
            # A file name that is not valid Unicode is shown escaped, not refused.
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="backslashreplace")
        try:
            return super().invoke(ctx)
        except (DefectsegError, OSError) as error:
            err.print(f"[bold red]Error[/] {escape(str(error))}")
            raise typer.Exit(USAGE) from error
        except Exception as error:
            if isinstance(error, typer.Abort) or hasattr(error, "exit_code"):
                raise  # typer's own: wrong usage, or a wanted end
            # Not Python's 1, which says that all was done but for some images.
            err.print_exception()
            err.print("[bold red]This is a fault in defectseg[/], not in what it was given.")
            raise typer.Exit(FAULT) from error
        except KeyboardInterrupt:
            err.print("Stopped.")
            if threading.active_count() > 1:
                # Python would wait for what they are doing, minutes for a large image.
                sys.stdout.flush()
                os._exit(INTERRUPTED)
            raise typer.Exit(INTERRUPTED) from None


app = typer.Typer(
    cls=_Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Defect segmentation that can be trusted on an inspection line. "
    "Begin with `defectseg demo`.",
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"defectseg {__version__}")
        raise typer.Exit


@app.callback()
def _defectseg(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    pass
