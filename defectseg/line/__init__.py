"""The inspection line: images in, verdicts out, everything recorded."""
