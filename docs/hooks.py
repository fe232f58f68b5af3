"""What mkdocs is told beyond mkdocs.yml: pages and files that lie outside of docs.

A page links to whatever lies in the repository, relative to its own place, as it does where the
repository is read. On the site these links lead to the page that a file has become, or to a copy.
"""

import os
import re
from pathlib import Path, PurePosixPath

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parent.parent
# Pages that are read in the repository first, by the names that they have on the site.
PAGES = {"contributing.md": "CONTRIBUTING.md", "how-to/labels.md": "data/README.md"}
_LINK = re.compile(r"(\]\()([^)#:]+)")  # without a scheme, and before an anchor


def on_files(files: Files, config: MkDocsConfig) -> None:
    """Add the pages that lie outside of docs."""
    for uri, path in PAGES.items():
        files.append(File.generated(config, uri, content=(ROOT / path).read_text("utf-8")))


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn links to places in the repository into links to places on the site."""
    uri = page.file.src_uri
    source = PurePosixPath(PAGES.get(uri, f"docs/{uri}"))

    def lead(match: re.Match[str]) -> str:
        path = os.path.normpath(source.parent / match[2])
        target = _find(path, config, files)
        return match[1] + (os.path.relpath(target, Path(uri).parent) if target else match[2])

    return _LINK.sub(lead, markdown)


def _find(path: str, config: MkDocsConfig, files: Files) -> str | None:
    """Return where on the site a file of the repository is; a copy is made if there is none."""
    pages = {source: uri for uri, source in PAGES.items()}
    if path in pages:
        return pages[path]
    if path.startswith("docs/"):
        return path.removeprefix("docs/")
    if not (ROOT / path).is_file():
        return None  # mkdocs warns of it
    target = f"files/{path}"
    if files.get_file_from_path(target) is None:
        files.append(File.generated(config, target, abs_src_path=str(ROOT / path)))
    return target
