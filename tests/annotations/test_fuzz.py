"""The label readers on files that nobody chose: records, named problems, or a `DataError`."""

import csv
import io
import math
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from defectseg.annotations.ellipse import ELLIPSE_FIELDS, LARGEST_PX, Ellipse
from defectseg.annotations.labels import LabelSet
from defectseg.annotations.layouts import READERS, detect_layout, read_labels
from defectseg.errors import DataError, DefectsegError
from defectseg.image_io import find_images

# The same examples each time, however slow the machine.
steady = settings(
    deadline=None,
    derandomize=True,
    max_examples=200,
    suppress_health_check=[HealthCheck.too_slow],
)

# Image files, empty: a reader of labels goes by their names. None of them means more elsewhere.
ARTICLE = ("Class1/1.png", "Class1/2.png", "Class1_def/1.png", "Class1_def/2.png")
COMPETITION = tuple(
    f"Class1/{split}/{name}"
    for split in ("Train", "Test")
    for name in ("0001.PNG", "0002.PNG", "Label/0002_label.PNG")
)
TABLE = ("a/1.png", "a/2.png", "b/1.png", "b/wear, left.png", 'b/3" wide.png', "b/größer.png")

SOUND = {
    "article": ("1\t5\t3\t0\t10\t10", "2\t4\t2\t0.5\t20\t12"),
    "competition": ("1", "1\t0\t0001.PNG\t0\t0", "2\t1\t0002.PNG\t1\t0002_label.PNG"),
    "table": ("image,semi_major,semi_minor,angle,x,y", "a/1.png,5,3,0,10,10", "b/1.png,4,2,1,9,9"),
}
LABELS = {
    "article": "Class1_def/labels.txt",
    "competition": "Class1/Train/Label/Labels.txt",
    "table": "labels.csv",
}


@dataclass(frozen=True)
class Folder:
    """A folder of images in one layout, whose file of labels is written anew again and again."""

    layout: str
    root: Path

    @property
    def labels(self) -> Path:
        return self.root / LABELS[self.layout]

    def read(self, data: bytes | str) -> LabelSet | None:
        """Write the labels and read them; see `read_checked`."""
        self.labels.write_bytes(data if isinstance(data, bytes) else data.encode())
        return read_checked(self.root, self.layout)


def make(layout: str, root: Path) -> Folder:
    """Write empty images, and sound labels."""
    names = {"article": ARTICLE, "competition": COMPETITION, "table": TABLE}[layout]
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    folder = Folder(layout, root)
    folder.labels.write_text("".join(f"{row}\n" for row in SOUND[layout]), encoding="utf-8")
    if layout == "competition":
        other = root / "Class1/Test/Label/Labels.txt"
        other.write_text("\n".join(SOUND[layout]), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Folder]:
    return {layout: make(layout, tmp_path_factory.mktemp(layout)) for layout in LABELS}


def read_checked(root: Path, layout: str) -> LabelSet | None:
    """Read labels and check what comes of it; None if they are refused.

    Whatever else is raised fails the test.
    """
    try:
        labels = read_labels(root, layout)
    except DefectsegError:
        return None
    problems = [*labels.choose(()).problems]
    problems += [own for _, own in (*labels.rows_without_image, *labels.images_without_row)]
    for problem in problems:
        assert problem.where.startswith(str(root))
        assert all((problem.found, problem.expected, problem.fix))
    images = [label.image for label in labels.images]
    assert len({path.resolve() for path in images}) == len(images), "an image twice"
    for label in labels.images:
        assert os.path.lexists(label.image)  # whether it can be read is seen later
        assert label.mask is None or os.path.lexists(label.mask)
        # An image that its authors call defective is never one of the good ones.
        assert layout != "article" or label.shapes or label.image.parent.name != "Class1_def"
        for ellipse in label.shapes:
            if not isinstance(ellipse, Ellipse):
                continue
            assert 0 < ellipse.semi_major <= LARGEST_PX
            assert 0 < ellipse.semi_minor <= LARGEST_PX
            assert max(abs(ellipse.x), abs(ellipse.y)) <= LARGEST_PX
            assert math.isfinite(ellipse.angle)
    return labels


def detect(root: Path) -> str | None:
    """Return the folder's layout; None if that is refused."""
    try:
        return detect_layout(root)
    except DataError:
        return None


def problem_count(labels: LabelSet | None) -> int:
    """How many things are wrong; a refusal is one."""
    if labels is None:
        return 1
    return len(labels.problems) + len(labels.rows_without_image)


def test_the_sound_folders_have_no_problem(folders: dict[str, Folder]) -> None:
    counts = {}
    for layout, folder in folders.items():
        labels = folder.read("".join(f"{row}\n" for row in SOUND[layout]))
        assert labels is not None
        assert problem_count(labels) == len(labels.images_without_row) == 0
        counts[layout] = len(labels.images)
    # All images, of which two in the article's and the competition's layout are masks.
    assert counts == {"article": 4, "competition": 4, "table": 6}


# --- Labels that nobody would write ------------------------------------------------------------

ROW = "1\t5\t3\t0\t10\t10\n"
ODD: dict[str, tuple[str, bytes | str]] = {
    "an index of 5000 digits": ("article", "9" * 5000 + " 5 3 0 10 10"),
    "an index that is a power": ("article", "² 5 3 0 10 10"),
    "NUL in the index": ("article", "1\0 5 3 0 10 10"),
    "NUL in a number": ("article", "1 5 3 0 10 10\0"),
    "only NUL": ("article", bytes(1_000_000)),
    "digits in groups": ("article", "1 5_0 3 0 10 10"),
    "a number of 5000 digits": ("article", f"1 {'9' * 5000} 3 0 10 10"),
    "a number beyond all numbers": ("article", "1 5 3 0 1e400 10"),
    "a hexadecimal number": ("article", "1 0x10 3 0 10 10"),
    "UTF-16": ("article", ROW.encode("utf-16")),
    "a line of two megabytes": ("article", ROW.replace("\n", "\t") * 130_000),
    "a decimal comma": ("article", "1 5,5 3 0 10 10"),
    "a name too long for a file": ("competition", f"1\n1 0 {'n' * 300}.PNG 0 0"),
    "a mask's name too long": ("competition", f"1\n2 1 0002.PNG 1 {'n' * 5000}.PNG"),
    "NUL in a name": ("competition", "1\n1 0 00\0 01.PNG 0 0\n1 0 a\0b.PNG 0 0"),
    "an image of the other split": ("competition", "1\n1 0 ../Test/0001.PNG 0 0"),
    "an image by two names": ("competition", "1\n1 0 0001.PNG 0 0\n2 0 ./0001.PNG 0 0"),
    "a folder for an image": ("competition", "1\n1 0 Label 0 0\n1 0 .. 0 0\n1 0 / 0 0"),
    "UTF-16 names": ("competition", "1\n1 0 0001.PNG 0 0".encode("utf-16")),
    "a cell of 200,000 signs": ("table", "x" * 200_000 + ",5,3,0,10,10"),
    "a quoted cell without end": ("table", SOUND["table"][0] + '\n"a/1.png,5,3,0,10,10\n' * 9999),
    "NUL in a cell": ("table", "a/1.png,5\0,3,0,10,10"),
    "a table of UTF-16": ("table", "\n".join(SOUND["table"]).encode("utf-16")),
    "a line of a million cells": ("table", "a/1.png,5,3,0,10,10," * 170_000),
    "infinite": ("table", "a/1.png,inf,3,0,10,10"),
    "a path out of the folder": ("table", "../a/1.png,5,3,0,10,10"),
}


@pytest.mark.parametrize("name", ODD)
def test_odd_labels_are_a_problem_and_no_crash(folders: dict[str, Folder], name: str) -> None:
    layout, data = ODD[name]
    assert problem_count(folders[layout].read(data)) > 0


@pytest.mark.parametrize("kind", ["folder", "link"])
@pytest.mark.parametrize("layout", LABELS)
def test_labels_that_are_no_file_are_a_problem_and_no_crash(
    tmp_path: Path, layout: str, kind: str
) -> None:
    folder = make(layout, tmp_path)
    folder.labels.unlink()
    if kind == "folder":
        folder.labels.mkdir()
    else:
        folder.labels.symlink_to("absent")
    assert problem_count(read_checked(folder.root, layout)) > 0
    assert detect(folder.root) in {*READERS, None}


# --- Any labels --------------------------------------------------------------------------------

# What goes into a cell where a number or a name belongs.
CELLS = st.one_of(
    st.sampled_from(["1", "2", "0", "5", "0.5", "1e3", "-5", "٣", "５"]),
    st.sampled_from(["", "nan", "inf", "-inf", "1e400", "-1e400", "1e-400", "0x1", "²", "½"]),
    st.sampled_from(["1,5", "1;5", "1'000", "--5", "5.5.5", "(5)", "5\0", "\ufeff5", '"', '""']),
    st.sampled_from(["0001.PNG", "0002.PNG", "0002_label.PNG", "a/1.png", ".\\a\\1.png"]),
    st.sampled_from(["..", ".", "/", "\\", "n" * 300, "9" * 400, "9" * 5000]),
    st.floats().map(repr),
    st.integers().map(str),
    st.text(max_size=8),
)
ENDS = st.sampled_from(["\n", "\r\n", "\r", "\n\n", "\x0b", "\x85", "\u2028"])


@st.composite
def label_files(draw: st.DrawFn) -> bytes:
    """Bytes, text, or rows of cells in some encoding, with the layouts' own rows among them."""
    kind = draw(st.sampled_from(["bytes", "text", "rows", "rows", "rows"]))
    if kind == "bytes":
        return draw(st.binary(max_size=200))
    if kind == "text":
        return draw(st.text(max_size=200)).encode("utf-8", "surrogatepass")
    mark = draw(st.sampled_from("\t ,;"))
    # As many cells as a layout has, or about so many.
    count = draw(st.sampled_from([(6, 6), (5, 5), (0, 8)]))
    row = st.lists(CELLS, min_size=count[0], max_size=count[1]).map(mark.join)
    sound = st.sampled_from([row for rows in SOUND.values() for row in rows])
    rows = draw(st.lists(st.one_of(row, sound), max_size=8))
    text = draw(st.sampled_from(["", "\ufeff"])) + "".join(line + draw(ENDS) for line in rows)
    encoding = draw(st.sampled_from(["utf-8", "utf-8", "utf-8", "utf-16", "latin-1"]))
    return text.encode(encoding, "replace")


@pytest.mark.parametrize("layout", LABELS)
@given(data=label_files())
@example(data=b"")
@example(data=b"\xff\xfe")
@example(data=b"\xef\xbb\xbf")
@steady
def test_any_labels_are_read_or_a_problem(
    folders: dict[str, Folder], layout: str, data: bytes
) -> None:
    labels = folders[layout].read(data)
    if labels is None:
        return
    known = {path.resolve() for path in folders[layout].root.rglob("*")}
    assert all(label.image.resolve() in known for label in labels.images)


@given(
    rows=st.lists(st.lists(CELLS, max_size=9), max_size=9),
    delimiter=st.sampled_from(",;\t"),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    has_header=st.booleans(),
)
@steady
def test_any_table_is_read_or_a_problem(
    folders: dict[str, Folder],
    rows: list[list[str]],
    delimiter: str,
    quoting: int,
    has_header: bool,
) -> None:
    header = [SOUND["table"][0].split(",")] if has_header else []
    labels = folders["table"].read(write_table([*header, *rows], delimiter, quoting))
    # Every image is there, or a row of its own is wrong.
    assert labels is None or len(labels.images) == len(TABLE) or labels.problems


def write_table(
    rows: Sequence[Sequence[str]],
    delimiter: str = ",",
    quoting: int = csv.QUOTE_MINIMAL,
    end: str = "\n",
) -> str:
    text = io.StringIO(newline="")
    csv.writer(text, delimiter=delimiter, quoting=quoting, lineterminator=end).writerows(rows)
    return text.getvalue()


@pytest.mark.parametrize("layout", ["article", "table"])
@given(place=st.integers(0, 5), cell=CELLS)
@steady
def test_a_row_with_another_cell_is_read_as_it_stands_or_is_a_problem(
    folders: dict[str, Folder], layout: str, place: int, cell: str
) -> None:
    mark = "\t" if layout == "article" else ","
    first = SOUND[layout][0] if layout == "article" else SOUND[layout][1]
    cells = first.split(mark)
    cells[place] = cell
    other = SOUND[layout][-1]  # names another image, and stays as it is
    header = [SOUND["table"][0]] if layout == "table" else []
    row = mark.join(cells) if layout == "article" else write_table([cells], end="")
    labels = folders[layout].read("\n".join([*header, row, other]))
    assert labels is not None
    if problem_count(labels):
        names = {label.image.name for label in labels.images if label.image.parent.name == "a"}
        # What is wrong in its row, the image is not taken for a good one; but broken in two lines,
        # it is no row of the image.
        assert place == 0 or len(f"{row}.".splitlines()) > 1 or "1.png" not in names
        return
    found = [ellipse for label in labels.images for ellipse in label.shapes]
    assert len(found) == (2 if row.strip() else 1)
    if row.strip():
        # Whatever Python takes for a number; spaces around it do not count.
        numbers = [float(text) for text in cells[1:]]
        assert Ellipse(*numbers) in found


# --- What is sound is read back ----------------------------------------------------------------

SEMI_AXIS = st.floats(0, LARGEST_PX, exclude_min=True)
POSITION = st.floats(-LARGEST_PX, LARGEST_PX)
ANGLE = st.floats(allow_nan=False, allow_infinity=False)
ELLIPSES = st.builds(Ellipse, SEMI_AXIS, SEMI_AXIS, ANGLE, POSITION, POSITION)
# 17 digits are enough for any number.
FORMATS = st.sampled_from(["{!r}", "{:.17g}", "{:+.16e}", " {!r}"])
PLAIN_ENDS = st.sampled_from(["\n", "\r\n", "\r"])
MARKS = st.sampled_from(["", "\ufeff"])


def numbers_of(ellipse: Ellipse, form: str) -> list[str]:
    return [form.format(float(getattr(ellipse, name))) for name in ELLIPSE_FIELDS]


@given(
    ellipses=st.lists(st.tuples(st.integers(1, 2), ELLIPSES), max_size=6, unique=True),
    form=FORMATS,
    between=st.sampled_from(["\t", " ", "  \t "]),
    end=PLAIN_ENDS,
    mark=MARKS,
)
@steady
def test_the_articles_rows_are_read_back(
    folders: dict[str, Folder],
    ellipses: list[tuple[int, Ellipse]],
    form: str,
    between: str,
    end: str,
    mark: str,
) -> None:
    rows = [between.join([f"{index:03}", *numbers_of(own, form)]) for index, own in ellipses]
    labels = folders["article"].read(mark + end.join(rows))
    assert labels is not None
    assert problem_count(labels) == 0
    found = {
        int(label.image.stem): label.shapes
        for label in labels.images
        if label.image.parent.name == "Class1_def"
    }
    expected = {
        index: tuple(own for number, own in ellipses if number == index) for index in (1, 2)
    }
    assert found == {index: own for index, own in expected.items() if own}
    lines = [own.source for ellipses in found.values() for own in ellipses]
    path = folders["article"].labels
    assert set(lines) == {f"{path}:{number}" for number in range(1, len(ellipses) + 1)}


@given(
    ellipses=st.lists(st.tuples(st.sampled_from(TABLE), ELLIPSES), max_size=6, unique=True),
    order=st.permutations(range(7)),
    form=FORMATS,
    delimiter=st.sampled_from(",;\t"),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    end=PLAIN_ENDS,
    mark=MARKS,
)
@steady
def test_the_tables_rows_are_read_back_in_any_order_of_columns(
    folders: dict[str, Folder],
    ellipses: list[tuple[str, Ellipse]],
    order: list[int],
    form: str,
    delimiter: str,
    quoting: int,
    end: str,
    mark: str,
) -> None:
    rows = [["Image", *ELLIPSE_FIELDS, "remark"]]
    rows += [[name, *numbers_of(own, form), "by hand, at night"] for name, own in ellipses]
    shuffled = [[row[place] for place in order] for row in rows]
    labels = folders["table"].read(mark + write_table(shuffled, delimiter, quoting, end))
    assert labels is not None
    assert problem_count(labels) == 0
    root = folders["table"].root
    found = {label.image.relative_to(root).as_posix(): label.shapes for label in labels.images}
    # Images that no row names are good ones.
    assert found == {name: tuple(own for other, own in ellipses if other == name) for name in TABLE}


@given(
    defective=st.lists(st.booleans(), min_size=2, max_size=2),
    between=st.sampled_from(["\t", " ", "  \t "]),
    end=PLAIN_ENDS,
    mark=MARKS,
    first=st.sampled_from(["1", "25", ""]),
)
@steady
def test_the_competitions_rows_are_read_back(
    folders: dict[str, Folder],
    defective: list[bool],
    between: str,
    end: str,
    mark: str,
    first: str,
) -> None:
    rows = [
        [str(number), "1", name, "1", "0002_label.PNG"]
        if bad
        else [str(number), "0", name, "0", "0"]
        for number, (name, bad) in enumerate(zip(("0001.PNG", "0002.PNG"), defective, strict=True))
    ]
    labels = folders["competition"].read(mark + end.join([first, *map(between.join, rows)]))
    assert labels is not None
    assert problem_count(labels) == 0
    train = {label.image.name: label for label in labels.images if label.split == "train"}
    assert [train[name].mask is not None for name in ("0001.PNG", "0002.PNG")] == defective
    assert [bool(train[name].source) for name in ("0001.PNG", "0002.PNG")] == defective


# --- Any folder --------------------------------------------------------------------------------

CLASSES = st.sampled_from(["Class1", "Class1_def", "Class1_def_masks", "_def", "größer"])
PARTS = st.lists(
    CLASSES | st.sampled_from(["Train", "Test", "Label", "images", "masks", "a"]), max_size=3
)
LEAVES = st.one_of(
    st.sampled_from(["1.png", "1.jpg", "01.png", "٣.png", "x.png", "x.bmp", ".png"]),
    st.sampled_from(["labels.txt", "Labels.txt", "labels.csv", "more.TSV", ".csv", "none"]),
)
CONTENTS = st.sampled_from(
    ["", "1", *("\n".join(rows) for rows in SOUND.values()), "x.png,1,1,0,1,1", "\x89PNG"]
)
NODES = st.tuples(PARTS, LEAVES, st.sampled_from(["file", "file", "file", "folder", "link"]))


@contextmanager
def tree(nodes: Sequence[tuple[tuple[list[str], str, str], str]]) -> Iterator[Path]:
    """A folder of files, folders and links that point to nothing; what has no place is left out."""
    with TemporaryDirectory() as name:
        root = Path(name) / "raw"
        root.mkdir()
        for (parts, leaf, kind), content in nodes:
            path = root.joinpath(*parts, leaf)
            parents = [parent for parent in path.parents if parent.is_relative_to(root)]
            if path.exists() or path.is_symlink() or any(map(no_folder, parents)):
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            if kind == "folder":
                path.mkdir()
            elif kind == "link":
                path.symlink_to("absent")
            else:
                path.write_text(content, encoding="utf-8")
        yield root


def no_folder(path: Path) -> bool:
    return path.is_symlink() or path.is_file()


@given(nodes=st.lists(st.tuples(NODES, CONTENTS), max_size=8))
@steady
def test_any_folder_has_one_layout_or_is_refused(
    nodes: list[tuple[tuple[list[str], str, str], str]],
) -> None:
    with tree(nodes) as root:
        layout = detect(root)
        for other in READERS:
            labels = read_checked(root, other)
            # What was told to be of a layout can be read as such.
            assert labels is not None or other != layout


STEMS = st.sampled_from(["1", "2", "01", "a.b", "größer"])
SUFFIXES = st.sampled_from([".png", ".PNG", ".jpg", ".bmp", ".tif"])
SIDES = st.sampled_from(["", "images", "masks", "imgs", "Label", "other", "other/masks"])


@given(files=st.sets(st.tuples(SIDES, STEMS, SUFFIXES), max_size=12))
@steady
def test_every_file_is_an_image_a_mask_or_a_problem(files: set[tuple[str, str, str]]) -> None:
    nodes = [
        ((folder.split("/") if folder else [], stem + suffix, "file"), "")
        for folder, stem, suffix in sorted(files)
    ]
    with tree(nodes) as root:
        labels = read_checked(root, "mask-pairs")
        if labels is None:  # no image has a mask
            return
        paired = [path for label in labels.images for path in (label.image, label.mask) if path]
        assert len(set(paired)) == len(paired) == 2 * len(labels.images)
        # "3 files of one stem: ..."
        crowded = sum(int(problem.found.split()[0]) for problem in labels.problems)
        alone = len(labels.rows_without_image) + len(labels.images_without_row)
        assert len(paired) + crowded + alone == len(find_images(root)[0]) == len(files)
