"""What the command weights does: fetch, with progress, and tell how they are carried."""

from collections.abc import Sequence
from pathlib import Path

from defectseg.console import bold, counting_bytes, err, out
from defectseg.quiet import quiet_stderr


def weights(backbones: Sequence[str], output: Path | None) -> None:
    """Fetch the ImageNet weights of backbones that are not there yet."""
    from defectseg.segmentation.weights import VARIABLE, have_weights, weights_folder

    with quiet_stderr():
        from defectseg.segmentation.unet import find_imagenet_source

    folder = output or weights_folder()
    for source in [find_imagenet_source(backbone) for backbone in dict.fromkeys(backbones)]:
        with counting_bytes(f"fetching {source.file}") as on_bytes:
            path = have_weights(source, folder, on_bytes)
        out.print(f"{source.backbone}: {path.name}, {path.stat().st_size / 1e6:.1f} MB.")
        if source.digest is None:
            err.print(
                "Its maker states no checksum: what came is trusted, and its own is noted beside "
                "it, so that a copy can be checked."
            )
    out.print(
        f"They are in {bold(folder)}. For a machine without a network copy this folder, to "
        f"{bold(weights_folder())} there or to another that the environment variable {VARIABLE} "
        "names; then train with model.encoder_weights=imagenet."
    )
