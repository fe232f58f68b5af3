"""What runs on the nodes of a Ray cluster: a model an actor, and the images that come to it."""

import os
import pickle
import socket
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import ray

from defectseg import __version__
from defectseg.bundle import ENGINE, EXPORT_FILES, MODEL, Bundle
from defectseg.config import EngineKind
from defectseg.errors import DataError, DefectsegError, Problem
from defectseg.image_io import FoundFile, encode_mask, printable
from defectseg.inference.pipeline import Inspected, fail, inspect_files, is_unchanged
from defectseg.inference.predictor import Inspection, Predictor, open_predictor
from defectseg.inference.results import OutputError, encode_pictures
from defectseg.inference.shards import (
    make_record,
    read_records,
    shard_path,
    to_row,
    write_shard,
)

# A worker may be killed by anything while it inspects an image; if so often, by the image.
_MOST_DEATHS = 2

File = tuple[FoundFile, str | None]
Pictures = tuple[bytes, bytes]
_NONE: Pictures = (b"", b"")


@dataclass(frozen=True)
class Model:
    """A bundle that goes from node to node: no node needs a path of another.

    Attributes
    ----------
    bundle : Bundle
    kind : str
        Of the network that is to run.
    files : dict of str to bytes
        That network, by path within the bundle's folder.
    """

    bundle: Bundle
    kind: EngineKind
    files: dict[str, bytes]


@dataclass(frozen=True)
class Required:
    """What must be so on every node.

    Attributes
    ----------
    source : Path
        The folder of the images.
    engine, precision : str
        What runs the network, as ``run.json`` tells it.
    version : str
        Of defectseg, likewise.
    """

    source: Path
    engine: str
    precision: str
    version: str


@dataclass(frozen=True)
class Returned:
    """What goes back to the driver of an image.

    Attributes
    ----------
    inspected : Inspected
    mask, overlay : bytes
        Of `results.encode_pictures`; empty where there are none, or they are in a shard.
    resumed : bool
        Whether its shard held it before.
    """

    inspected: Inspected
    mask: bytes = b""
    overlay: bytes = b""
    resumed: bool = False


def pack_model(bundle: Bundle, kind: EngineKind) -> Model:
    """Return a bundle with one of its networks."""
    names = [MODEL] if kind == "keras" else [f"{ENGINE}/{own}" for own in EXPORT_FILES[kind]]
    return Model(bundle, kind, {name: (bundle.folder / name).read_bytes() for name in names})


def open_model(model: Model) -> Predictor:
    """Return the predictor of a model, which computes on one core, or on a GPU."""
    for pool in ("INTRAOP", "INTEROP"):
        # TensorFlow's threads on a CPU, whose cores are shared out among the actors.
        os.environ.setdefault(f"TF_NUM_{pool}_THREADS", "1")
    with tempfile.TemporaryDirectory() as folder:
        for name, data in model.files.items():
            path = Path(folder) / name
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(data)
        own = replace(model.bundle, folder=Path(folder))
        return open_predictor(own, model.kind, streams=1, cores=1)


class Attempts:
    """Counts how often something was begun that was never ended; an actor of its own."""

    def __init__(self) -> None:
        self._begun: Counter[Any] = Counter()

    def begin(self, what: Any) -> int:
        """Return how often this was begun, this time included."""
        self._begun[what] += 1
        return self._begun[what]

    def end(self, what: Any) -> None:
        """Forget it."""
        self._begun.pop(what, None)


class Worker:
    """Inspects chunks of files, in an actor of Ray Data.

    Parameters
    ----------
    model : ObjectRef of Model
    attempts : ActorHandle of Attempts
    required : Required
        Checked before the first chunk; what a constructor raises Ray does not hand on as it is.
    shards : Path or None
        The folder that each chunk is written to as a shard; only rows are returned then. None:
        pictures are returned, too.
    resume : bool
        Keep what a shard holds of files that are still the same.
    """

    def __init__(
        self,
        model: Any,
        attempts: Any,
        required: Required,
        shards: Path | None = None,
        resume: bool = False,
    ) -> None:
        self._predictor = open_model(ray.get(model))
        self._attempts = attempts
        self._required: Required | None = required
        self._shards = shards
        self._resume = resume

    def __call__(self, batch: pa.Table) -> Iterator[pa.Table]:
        """Inspect the chunk that is in a table's only row."""
        if self._required is not None:
            _check_node(self._required, self._predictor)
            self._required = None
        (chunk,) = batch.to_pylist()
        number, files = chunk["number"], pickle.loads(chunk["files"])
        if self._shards is None:
            for inspected, pictures in self._inspect_chunk(number, files):
                yield pack(Returned(inspected, *pictures))
        else:
            yield from map(pack, self._write_shard(shard_path(self._shards, number), number, files))

    def _write_shard(self, path: Path, number: int, files: Sequence[File]) -> Iterator[Returned]:
        names = [printable(file.relative) for file, _ in files]
        before = read_records(path) if self._resume else {}
        records = {
            name: before[name]
            for name, (file, _) in zip(names, files, strict=True)
            if name in before and is_unchanged(file, before[name]["sha256"])
        }
        resumed = set(records)
        left = [own for name, own in zip(names, files, strict=True) if name not in resumed]
        for inspected, (mask, _) in self._inspect_chunk(number, left):
            record = make_record(inspected.row, inspected.regions, mask)
            records[record["image"]] = record
        if left or before.keys() != resumed:
            try:
                write_shard(path, (records[name] for name in names))
            except OSError as error:
                raise OutputError(
                    f"{path} cannot be written: {error.strerror or error}. What was done is kept: "
                    "mend this, and go on with --resume."
                ) from error
        for name in names:
            yield Returned(Inspected(to_row(records[name])), resumed=name in resumed)

    def _inspect_chunk(
        self, number: int, files: Sequence[File]
    ) -> Iterator[tuple[Inspected, Pictures]]:
        """Inspect files; one by one if a worker died over them, to find the one that kills."""
        if self._begin(number) == 1:
            yield from self._inspect(files)
        else:
            for own in files:
                what = (number, own[0].relative)
                if self._begin(what) > _MOST_DEATHS:
                    error = DefectsegError(
                        "each worker that inspected it died: of too little memory, or of a fault "
                        "in a decoder"
                    )
                    yield fail(own[0].relative, error, 0), _NONE
                    continue
                yield from self._inspect([own])
                self._attempts.end.remote(what)
        self._attempts.end.remote(number)

    def _begin(self, what: Any) -> int:
        return int(ray.get(self._attempts.begin.remote(what)))

    def _inspect(self, files: Sequence[File]) -> Iterator[tuple[Inspected, Pictures]]:
        pictures: dict[str, Pictures] = {}

        def keep(name: str, image: Any, inspection: Inspection) -> None:
            if self._shards is None:
                pictures[name] = encode_pictures(image, inspection)
            else:
                pictures[name] = encode_mask(inspection.mask), b""

        for inspected in inspect_files(files, self._predictor, keep, workers=1):
            yield inspected, pictures.pop(inspected.row["image"], _NONE)


def _check_node(required: Required, predictor: Predictor) -> None:
    """Check that this node can do its share, and does it as the others do."""
    node = f"{socket.gethostname()} ({ray.util.get_node_ip_address()})"
    if __version__ != required.version:
        raise DefectsegError(
            f"Node {node} of the Ray cluster has defectseg {__version__}, the driver "
            f"{required.version}: they may answer otherwise, and run.json would be untrue. Install "
            f"{required.version} there, and go on with --resume."
        )
    try:
        with os.scandir(required.source) as entries:
            found = "" if next(entries, None) else "an empty folder"
    except OSError as error:
        found = f"none ({error.strerror or error})"
    if found:
        # Else each of its images would be a row with ERROR, as if the files were damaged.
        problem = Problem(
            str(required.source),
            found,
            "the folder of images, as on the driver",
            "Mount it there, and go on with --resume.",
        )
        raise DataError(f"Node {node} of the Ray cluster has no images.", [problem])
    engine = predictor.engine
    if (engine.name, engine.precision) != (required.engine, required.precision):
        raise DefectsegError(
            f"Node {node} of the Ray cluster runs the network by {engine.name} in "
            f"{engine.precision}, another by {required.engine} in {required.precision}: they may "
            "answer otherwise, and run.json would be untrue. Expected nodes of one kind; run one "
            "job for each kind, each with its own folders."
        )


def pack(returned: Returned) -> pa.Table:
    """Return what goes back to the driver as a table of one row."""
    # Pickled, for a file's name need not be Unicode.
    return pa.table({"returned": [pickle.dumps(returned)]})
