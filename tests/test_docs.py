"""The documentation: the site is built without a warning, and every link in it leads somewhere."""

import os
import re
import subprocess
import sys
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from defectseg.image_io import read_image

DOCS = Path("docs")
TEXTS = [Path(name) for name in ("README.md", "CONTRIBUTING.md", "data/README.md")]
TEXTS += sorted(DOCS.rglob("*.md"))
# What a browser fetches by itself.
LOADING = {"script": "src", "img": "src", "iframe": "src", "source": "src", "link": "href"}
FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)


@dataclass
class Links(HTMLParser):
    """What a page links to, what it loads, and which places of it can be linked to."""

    page: Path
    leads_to: set[str] = field(default_factory=set)
    loads: set[str] = field(default_factory=set)
    places: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        super().__init__()
        self.feed(self.page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self.places |= {values[name] for name in ("id", "name") if name in values}
        if tag == "a" and "href" in values:
            self.leads_to.add(values["href"])
        if LOADING.get(tag, "") in values:
            self.loads.add(values[LOADING[tag]])


def is_elsewhere(address: str) -> bool:
    return bool(re.match(r"([a-z+.-]+:)?//", address))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site."""
    folder = tmp_path_factory.mktemp("docs") / "site"
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    # Its makers tell of a successor on every run, until they are asked not to.
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    return folder


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Links]:
    """The pages of the site, but the one that says that there is none."""
    found = [path.resolve() for path in site.rglob("*.html") if path.name != "404.html"]
    return {path: Links(path) for path in found}


def test_links_of_the_site_lead_to_a_file_and_a_place_in_it(pages: dict[Path, Links]) -> None:
    broken = []
    for path, links in pages.items():
        for address in links.leads_to:
            file, _, place = address.partition("#")
            if is_elsewhere(address) or address.startswith("mailto:"):
                continue
            target = (path.parent / file).resolve() if file else path
            if not target.is_file() or (place and place not in pages[target].places):
                broken.append(f"{path.name}: {address}")
    assert not broken


def test_pages_load_nothing_from_elsewhere(site: Path, pages: dict[Path, Links]) -> None:
    loads = {address for links in pages.values() for address in links.loads}
    assert loads
    assert not {address for address in loads if is_elsewhere(address)}
    for style in site.rglob("*.css"):
        assert not re.search(r"url\([\"']?(https?:)?//", style.read_text(encoding="utf-8"))
    # Of its own accord the theme's script fetches another, if there is a diagram for it to draw.
    assert not [path for path in pages if 'class="mermaid"' in path.read_text(encoding="utf-8")]


def test_every_page_is_reached_from_the_first(site: Path, pages: dict[Path, Links]) -> None:
    reached, waiting = set(), [(site / "index.html").resolve()]
    while waiting:
        path = waiting.pop()
        reached.add(path)
        files = {own.partition("#")[0] for own in pages[path].leads_to}
        linked = {(path.parent / file).resolve() for file in files if not is_elsewhere(file)}
        waiting += (linked & pages.keys()) - reached
    assert reached == pages.keys()


@pytest.mark.parametrize("path", TEXTS, ids=str)
def test_links_in_the_repository_lead_to_a_file_and_a_heading(path: Path) -> None:
    text = FENCE.sub("", path.read_text(encoding="utf-8"))
    addresses = re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r'src="([^"]+)"', text)
    broken = []
    for address in addresses:
        file, _, place = address.partition("#")
        target = path.parent / file if file else path
        # Places of the reference are there on the site alone.
        if is_elsewhere(address) or (target.is_file() and place.startswith("defectseg.")):
            continue
        if not target.exists() or (place and place not in headings(target)):
            broken.append(address)
    assert not broken


def headings(path: Path) -> set[str]:
    """The headings of a text, as links name them."""
    text = FENCE.sub("", path.read_text(encoding="utf-8"))
    titles = re.findall(r"^#+ +(.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("path", TEXTS, ids=str)
def test_measured_text_lies_between_marks_that_a_benchmark_knows(path: Path) -> None:
    scripts = "".join(own.read_text(encoding="utf-8") for own in Path("benchmarks").glob("*.py"))
    marks = re.findall(r"^<!-- (/?)(\w+) -->$", path.read_text(encoding="utf-8"), re.MULTILINE)
    names = [name for _, name in marks[::2]]
    assert marks == [(slash, name) for name in names for slash in ("", "/")]
    for name in names:
        assert re.search(rf'write_into_pages\(\s*"{name}"', scripts), name


def test_figures_are_what_their_scripts_draw(tmp_path: Path) -> None:
    command = [sys.executable, "docs/figures/draw.py", "--output", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    drawn = {path.name for path in tmp_path.iterdir()}
    kept = {path.name for path in (DOCS / "figures").iterdir() if path.suffix in (".png", ".jpg")}
    assert drawn == kept
    for name in drawn:
        new, old = (read_image(folder / name) for folder in (tmp_path, DOCS / "figures"))
        assert new.shape == old.shape, name
        # Not to the bit: another version of a library may round otherwise.
        assert (np.abs(new.astype(int) - old) > 60).mean() < 0.002, name
