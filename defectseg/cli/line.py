"""The commands of the line and their options."""

from pathlib import Path
from typing import Annotated

import typer

from defectseg.cli.paths import complete_bundles, find_settings
from defectseg.commands import line as line_commands
from defectseg.errors import ConfigError

app = typer.Typer()

Station = Annotated[Path, typer.Option(help="The station's folder: its ledger and pictures.")]


@app.callback(invoke_without_command=True)
def line(
    ctx: typer.Context,
    model: Annotated[
        Path | None,
        typer.Option(
            help="A bundle. One that is copied over it is checked and judges from then on, and so "
            "does one that POST /v1/models chooses, also after the next start.",
            autocompletion=complete_bundles,
        ),
    ] = None,
    station: Station = Path("runs/line"),
    inbox: Annotated[
        Path | None, typer.Option(help="A folder to watch: images put there are inspected.")
    ] = None,
    take: Annotated[
        bool,
        typer.Option(
            "--take",
            help="Remove files from INBOX once they are recorded and kept; what was refused stays.",
        ),
    ] = False,
    product: Annotated[
        str | None,
        typer.Option(help="What images in INBOX show that lie in no folder of a product's name."),
    ] = None,
    rules: Annotated[
        Path | None,
        typer.Option(
            help="A folder with PRODUCT.yaml, what does not count, read at the start; see "
            "configs/line/rules.",
            callback=find_settings,
        ),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(
            help="Settings, YAML; see configs/line/settings.yaml.", callback=find_settings
        ),
    ] = None,
    host: Annotated[
        str, typer.Option(help="Address to listen on; others than this need a token.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any that is free.")] = 8000,
    token_file: Annotated[
        Path | None,
        typer.Option(help="Holds the token; or put it into the environment, DEFECTSEG_TOKEN."),
    ] = None,
) -> None:
    """Run a station: images in by folder or HTTP, verdicts out, everything recorded.

    Open its page in a browser; its interface is described at /docs. Ctrl-C or SIGTERM ends it,
    once what waits is recorded.

    Example: `defectseg line --model runs/demo/bundle --inbox runs/demo/test` (after the demo)
    """
    if ctx.invoked_subcommand is not None:
        return
    if model is None:
        raise ConfigError("--model is missing: name a bundle, such as runs/demo/bundle.")
    if inbox is None and (take or product is not None):
        raise ConfigError(
            f"{'--take' if take else '--product'} is of files in a folder, and none is named: name "
            "it by --inbox. Images that come by HTTP say themselves what they show."
        )
    line_commands.run(
        model,
        station,
        inbox=inbox,
        take=take,
        product=product,
        rules=rules,
        config=config,
        host=host,
        port=port,
        token_file=token_file,
    )


@app.command()
def verify(
    station: Station = Path("runs/line"),
    head: Annotated[
        list[str] | None,
        typer.Option(help="A hash noted before, that must still be there; may be repeated."),
    ] = None,
) -> None:
    """Check that no row of a station's ledger was changed, removed or put in.

    Exit status: 0, or 1 if something is wrong.

    Example: `defectseg line verify` (after that of line)
    """
    raise typer.Exit(line_commands.verify(station, head or []))


@app.command(name="export")
def export_ledger(
    output: Annotated[Path, typer.Option(help="A new file, .csv or .parquet.")],
    station: Station = Path("runs/line"),
) -> None:
    """Write all inspections with their decisions to a table; the station may be at work.

    Example: `defectseg line export --output runs/inspections.csv` (after that of line)
    """
    line_commands.export(station, output)
