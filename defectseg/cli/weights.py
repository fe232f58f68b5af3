"""The weights that encoders begin with, and their options."""

from pathlib import Path
from typing import Annotated

import typer

from defectseg.commands import weights as weights_command

app = typer.Typer()
# Those that were compared; any other of segmentation_models may be named as well.
_USUAL = ("resnet18", "resnet34", "mobilenetv2", "efficientnetb0", "vgg16")


@app.command()
def weights(
    backbone: Annotated[
        list[str],
        typer.Option(
            help="As model.backbone: resnet18, mobilenetv2, ... May be repeated.",
            autocompletion=lambda incomplete: [own for own in _USUAL if own.startswith(incomplete)],
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            help="A folder; training looks into it only if DEFECTSEG_WEIGHTS names it. Default: "
            "that which DEFECTSEG_WEIGHTS names, or else Keras' own, where training looks anyway."
        ),
    ] = None,
) -> None:
    """Fetch ImageNet weights for model.encoder_weights=imagenet, once, on a connected machine.

    They are checked, and lie in one folder that can be carried to machines without a network.

    Example: `defectseg weights --backbone resnet18`
    """
    weights_command.weights(backbone, output)
