"""What the figures share: colours, and how one is written."""

from pathlib import Path

from matplotlib.figure import Figure

RED, BLUE, GREEN, GRAY = "#c62828", "#1565c0", "#2e7d32", "0.45"
SIZES = {"font.size": 11, "axes.spines.top": False, "axes.spines.right": False}
_DPI = 110


def save(figure: Figure, path: Path) -> None:
    """Write a figure as PNG, the same bytes each time."""
    figure.savefig(path, dpi=_DPI, metadata={"Software": None})
