"""Train a U-Net and leave a bundle: ``python train.py --help``."""

from defectseg.cli import main

main("train")
