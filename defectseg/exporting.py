"""The network of a bundle for other runtimes: made, compared with Keras, added or refused."""

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from defectseg.atomic import staged_folder, write_atomically
from defectseg.bundle import (
    ENGINE,
    EXPORT_FILES,
    EXPORTS,
    MODEL,
    Bundle,
    Export,
    dump_exports,
    finish_bundle,
    read_exports,
)
from defectseg.config import Config, ExportFormat
from defectseg.dataset.manifest import Sample
from defectseg.quiet import quiet_stderr

_WHOLE: tuple[ExportFormat, ...] = ("onnx", "saved-model")


def export_for_cpu(config: Config, train: Sequence[Sample]) -> None:
    """Write what OpenVINO runs into the ``engine/`` of a run, in place of what was there.

    The calibration compares it with Keras.
    """
    with quiet_stderr(), staged_folder(config.run / ENGINE) as stage:
        from defectseg.segmentation.export import export_network

        export_network(config.run, config, ("float32", "int8"), train, stage)


def add_exports(
    bundle: Bundle,
    formats: Sequence[ExportFormat],
    train: Sequence[Sample],
    val: Sequence[Sample],
    on_image: Callable[[int], None] = lambda total: None,
) -> dict[ExportFormat, Export]:
    """Export the network of a finished bundle, and keep what answers as Keras does.

    Parameters
    ----------
    bundle : Bundle
    formats : sequence of str
        See `segmentation.export.export_network`.
    train, val : sequence of Sample
        int8 is fitted on the former, all are compared on the latter.
    on_image : callable
        Called after each image that was answered, with the number of all of them.

    Returns
    -------
    dict of str to Export
        Of each format. What was refused is not in the bundle; one of before stays.
    """
    with quiet_stderr():
        from defectseg.segmentation.export import export_network

    with TemporaryDirectory(dir=bundle.folder, prefix=".") as temporary:
        stage = Path(temporary)
        with quiet_stderr():
            export_network(bundle.folder, bundle.config, formats, train, stage)
        measured = _compare(bundle, formats, stage, val, on_image)
        known = read_exports(bundle.folder)
        for name, export in measured.items():
            if export.refused:
                continue
            known[name] = export
            for file in EXPORT_FILES[name]:
                _move(stage / file, bundle.folder / ENGINE / file)
    write_atomically(bundle.folder / EXPORTS, dump_exports(known))
    finish_bundle(bundle.folder)
    return measured


def _compare(
    bundle: Bundle,
    formats: Sequence[ExportFormat],
    stage: Path,
    val: Sequence[Sample],
    on_image: Callable[[int], None],
) -> dict[ExportFormat, Export]:
    """Hold what was exported against Keras, in whole images or with all that prediction does."""
    from defectseg.evaluation.parity import measure_parity
    from defectseg.inference.engines import Network, NetworkEngine, load_engine
    from defectseg.inference.openvino_network import OpenVinoNetwork
    from defectseg.processor import count_cores
    from defectseg.segmentation.whole_networks import open_keras, open_onnx, open_saved_model

    config, cores = bundle.config, count_cores()
    openers: dict[str, Callable[[], Network]] = {
        "float32": lambda: OpenVinoNetwork(stage / "float32.xml", cores),
        "int8": lambda: OpenVinoNetwork(stage / "int8.xml", cores),
        "onnx": lambda: open_onnx(stage / "network.onnx"),
        "saved-model": lambda: open_saved_model(stage / "saved_model"),
    }
    parts = [[name for name in formats if (name in _WHOLE) == whole] for whole in (False, True)]
    total = sum(bool(part) for part in parts) * len(val)
    measured: dict[ExportFormat, Export] = {}
    for part in parts:
        if not part:
            continue
        whole = part[0] in _WHOLE
        keras = (
            NetworkEngine(open_keras(bundle.folder / MODEL), config)
            if whole
            else load_engine(bundle.folder, config, "keras")
        )
        measured |= measure_parity(
            keras,
            {name: NetworkEngine(openers[name](), config) for name in part},
            val,
            bundle.calibration.thresholds,
            ellipses=config.inference.ellipses,
            on_image=lambda: on_image(total),
        )
    return measured


def _move(source: Path, target: Path) -> None:
    if target.is_dir():
        shutil.rmtree(target)
    source.replace(target)
