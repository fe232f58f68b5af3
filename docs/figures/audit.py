"""The audit sheet that `defectseg prepare` leaves."""

from pathlib import Path
from tempfile import TemporaryDirectory

from defectseg.dataset.audit import audit_sheet
from defectseg.dataset.manifest import read_manifest
from defectseg.dataset.prepare import prepare
from defectseg.dataset.synthetic import write_dataset
from defectseg.image_io import write_picture


def draw(path: Path) -> None:
    """Draw images of three products, prepare them, and draw their audit sheet."""
    with TemporaryDirectory() as folder:
        raw, prepared = Path(folder, "raw"), Path(folder, "prepared")
        products = ("Class1", "Class4", "Class5")
        write_dataset(raw, good=4, defective=1, products=products, size=256, seed=1)
        prepare(raw, prepared)
        write_picture(path, audit_sheet(read_manifest(prepared)))
