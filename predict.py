"""Predict a folder of images: ``python predict.py --help``."""

from defectseg.cli import main

main("predict")
