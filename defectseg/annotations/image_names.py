"""Which image file a label means by the name it gives.

Tools name an image as ``1.png``, ``sub/1.png`` or ``images/sub/1.png``, with Windows' separators,
or by a path or an address on another machine.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from posixpath import normpath
from urllib.parse import unquote

from defectseg.annotations.labels import LabelledImage, LabelSet, Shape, UnusableShape
from defectseg.errors import Problem
from defectseg.image_io import FoundFile, find_images

# Folders that hold images of any kind, as tools export them. Were each a product, train2017 and
# val2017 would be two, and parts of one camera be judged by limits of their own.
_CONTAINER = re.compile(
    r"(images?|imgs?|jpegimages|data|default|train|val|valid|validation|test)[0-9]*", re.IGNORECASE
)
_MOST_NAMED = 3
# Of the web. Elsewhere, as in s3://bucket/a#1%.png, a path is what it looks like.
_QUOTED = ("http", "https", "file")
_ILLEGAL = re.compile(r"[^-\w.]")


@dataclass(frozen=True)
class Entry:
    """What a file of labels says of one image.

    Attributes
    ----------
    name : str
        The image, as the file names it.
    source : str
        Where, as ``annotations.xml:12``, for messages.
    shapes : tuple of Shape or UnusableShape
    shape_hw : tuple of int or None
        As in `LabelledImage`.
    folder : str
        Where the file of labels lies, relative to the root, as ``sub/labels``: the name is looked
        for from there first.
    subset : str
        A folder that the image may lie in, which is tried before the name alone.
    uploaded_as : str
        The name that the image had when it was uploaded, as far as the server kept it: see
        `ImageNames.find_uploaded`. It is tried if no file fits `name`.
    file_bytes : int or None
        Length of the image file, where it is known. Of several files that the name fits, the one
        of this length is meant; a file of another length was changed since, or is another image.
    is_known : bool
        False if anything but a shape is wrong, which is among the problems.
    """

    name: str
    source: str
    shapes: tuple[Shape | UnusableShape, ...]
    shape_hw: tuple[int, int] | None = None
    folder: str = ""
    subset: str = ""
    uploaded_as: str = ""
    file_bytes: int | None = None
    is_known: bool = True


def tell_product(relative: str, root: Path) -> str:
    """Return the first folder of a path below `root`; the data's own name where there is none.

    A folder as `images` or `train2017`, which only holds the others, does not count.
    """
    folders = relative.split("/")[:-1]
    own = (folder for folder in folders if not _CONTAINER.fullmatch(folder))
    return next(own, root.resolve().name)


def match_entries(
    root: Path,
    entries: Iterable[Entry],
    problems: Iterable[Problem] = (),
    *,
    unread: Sequence[Problem] = (),
    unnamed_are_good: bool = False,
) -> LabelSet:
    """Find the image of each entry below a folder.

    Parameters
    ----------
    root : Path
    entries : iterable of Entry
    problems : iterable of Problem
        What is wrong with the labels, to be passed on.
    unread : sequence of Problem
        What is wrong with whole files. Which images have a label is not known then.
    unnamed_are_good : bool
        An image that no entry names is defect-free, instead of unmatched.

    Returns
    -------
    LabelSet
        A name that several files fit is a problem, as is an image with several entries. What finds
        no partner is in `rows_without_image` and `images_without_row`.
    """
    entries = list(entries)
    unusable = tuple(own for entry in entries for own in _unusable(entry))
    if unread:
        return LabelSet((), (*unread, *problems), unusable=unusable)
    found = find_images(root)[0]
    names = ImageNames(found)
    images: list[LabelledImage] = []
    wrong = list(problems)
    without_image: list[tuple[str, Problem]] = []
    seen: dict[str, str] = {}
    meant: set[str] = set()
    for entry in entries:
        files = _files_of(entry, names)
        meant |= {file.relative for file in files}
        if not files:
            missing = _missing(entry, names, root)
            without_image.append((tell_product("/".join(_parts(entry.name)), root), missing))
        elif len(files) > 1:
            wrong.append(_ambiguous(entry, files))
        elif files[0].relative in seen:
            problem = f"labels of {files[0].relative} twice, also {seen[files[0].relative]}"
            fix = "Join them, or remove one."
            wrong.append(Problem(entry.source, problem, "each image once", fix))
        elif entry.file_bytes is not None and not _has_length(files[0], entry.file_bytes):
            wrong.append(_changed(entry, files[0]))
        else:
            relative = files[0].relative
            seen[relative] = entry.source
            product = tell_product(relative, root)
            if entry.is_known:
                images.append(_label(entry, files[0].path, product))
    unnamed = [
        (file, tell_product(file.relative, root)) for file in found if file.relative not in meant
    ]
    if unnamed_are_good:
        images += [LabelledImage(file.path, product, unnamed=True) for file, product in unnamed]
        unnamed = []
    without_row = [(product, _unnamed(file)) for file, product in unnamed]
    images.sort(key=lambda image: image.image.as_posix())
    rows, others = tuple(without_image), tuple(without_row)
    return LabelSet(tuple(images), tuple(wrong), rows, others, unusable)


def _label(entry: Entry, path: Path, product: str) -> LabelledImage:
    shapes = tuple(shape for shape in entry.shapes if not isinstance(shape, UnusableShape))
    return LabelledImage(
        path, product, shapes, shape_hw=entry.shape_hw, unusable=tuple(_unusable(entry))
    )


def _unusable(entry: Entry) -> list[UnusableShape]:
    return [shape for shape in entry.shapes if isinstance(shape, UnusableShape)]


class ImageNames:
    """The image files of a folder, to be found by the names that tools give them."""

    def __init__(self, files: Iterable[FoundFile]) -> None:
        self._by_path = {file.relative: file for file in files}
        self._by_name: dict[str, list[FoundFile]] = {}
        self._by_stem: dict[str, list[FoundFile]] = {}
        self._renamed: dict[str, list[FoundFile]] = {}
        self._folders: set[str] = set()
        for file in self._by_path.values():
            path = PurePosixPath(file.relative)
            self._by_name.setdefault(path.name, []).append(file)
            self._by_stem.setdefault(path.stem.casefold(), []).append(file)
            kept_name = _ILLEGAL.sub("", path.name.replace(" ", "_"))
            if kept_name != path.name:
                self._renamed.setdefault(kept_name, []).append(file)
            self._folders.add(path.parent.name)

    def find(self, name: str, folder: str = "", subset: str = "") -> list[FoundFile]:
        """Return the files that a name fits: none, the one that is meant, or several.

        Parameters
        ----------
        name : str
            A path or address, in full or in part. What fits better leaves out what fits less: the
            very path from `folder`, then from the root; a file whose path ends with the name; one
            whose path the name ends with, its folder included; a file of the same name, but not
            if the folder of `name` is there and holds others.
        folder : str
            Where the name was read, relative to the root. Of several files that fit alike, those
            below it are meant; else those below the folder that it lies in.
        subset : str
            A folder that the image may lie in, which is tried first.
        """
        parts = _parts(name)
        files = self._by_paths([subset, *parts], folder) if subset else []
        files = files or self._by_paths(parts, folder)
        if not files and self._folders.isdisjoint(parts[-2:-1]):
            files = self._by_name.get("".join(parts[-1:]), [])
        for near in (folder, folder.rpartition("/")[0]) if len(files) > 1 else ():
            below = [file for file in files if file.relative.startswith(f"{near}/")]
            if below:
                return below
        return list(files)

    def find_uploaded(self, name: str, folder: str) -> list[FoundFile]:
        """Return the files that were uploaded to a server which then called them so.

        Django, on which Label Studio stands, keeps ``part (1).png`` as ``part_1.png``: where both
        are there, either may be meant.
        """
        return self.find(name, folder) + self._renamed.get(name, [])

    def _by_paths(self, parts: list[str], folder: str) -> list[FoundFile]:
        path = "/".join(parts)
        for exact in (normpath(f"{folder or '.'}/{path}"), path):
            if exact in self._by_path:
                return [self._by_path[exact]]
        same_name = self._by_name.get(parts[-1], []) if parts else []
        endings = [file for file in same_name if file.relative.endswith(f"/{path}")]
        beginnings = [
            file
            for file in same_name
            if "/" in file.relative and f"/{path}".endswith(f"/{file.relative}")
        ]
        return endings or beginnings

    def hint(self, name: str) -> str:
        """Name the file that differs from a name in folder, case or suffix, if there is just one.

        For the end of a message that there is no such image; may be empty.
        """
        stem = PurePosixPath("/".join(_parts(name))).stem.casefold()
        alike = self._by_stem.get(stem, [])
        return f" (there is {alike[0].relative})" if len(alike) == 1 else ""


def _files_of(entry: Entry, names: ImageNames) -> list[FoundFile]:
    files = names.find(entry.name, entry.folder, entry.subset)
    if not files and entry.uploaded_as:
        files = names.find_uploaded(entry.uploaded_as, entry.folder)
    if len(files) > 1 and entry.file_bytes is not None:
        files = [file for file in files if _has_length(file, entry.file_bytes)] or files
    return files


def _has_length(file: FoundFile, length: int) -> bool:
    return bool(file.problem) or file.path.stat().st_size == length


def _parts(name: str) -> list[str]:
    """Return folders and file name of a path or address, without those that say nothing."""
    path = path_of(name).replace("\\", "/")
    return [part for part in path.split("/") if part not in {"", "."}]


def path_of(address: str) -> str:
    """Return the path in an address, as it was before it was quoted; another text as it is."""
    scheme, is_address, rest = address.partition("://")
    if not is_address:
        return address
    path = rest.partition("/")[2]
    return unquote(re.split("[?#]", path, maxsplit=1)[0]) if scheme.lower() in _QUOTED else path


def _missing(entry: Entry, names: ImageNames, root: Path) -> Problem:
    hint = names.hint(entry.name) or names.hint(entry.uploaded_as)
    return Problem(
        entry.source,
        f"labels of {entry.name[:200]!r}, but no such image below {root}{hint}",
        "an image for every label",
        "Add the image, or remove its label.",
    )


def _ambiguous(entry: Entry, files: list[FoundFile]) -> Problem:
    named = ", ".join(file.relative for file in files[:_MOST_NAMED])
    more = f" and {len(files) - _MOST_NAMED} more" if len(files) > _MOST_NAMED else ""
    return Problem(
        entry.source,
        f"the name {entry.name[:200]!r}, which {len(files)} images fit: {named}{more}",
        "one image of this name",
        "Write its path from the folder of the data, or move the others out.",
    )


def _changed(entry: Entry, file: FoundFile) -> Problem:
    return Problem(
        entry.source,
        f"labels of {entry.name[:200]!r} with {entry.file_bytes} bytes, but {file.relative} has "
        f"{file.path.stat().st_size}",
        "the image that was labelled",
        "Put it there; or, if the labels fit this one, write -1 for the size in them.",
    )


def _unnamed(file: FoundFile) -> Problem:
    return Problem(
        str(file.path),
        "no label that names this image",
        "one for every image, also for a good one",
        "Add it to the labels, or remove the image.",
    )
