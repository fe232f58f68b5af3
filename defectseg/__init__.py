"""Defect segmentation that can be trusted on an inspection line."""

import os

# TensorFlow reads this once, when it is first imported: its start-up notes are not for users.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

__version__ = "0.1.0"
