"""MkDocs hooks: README.md becomes the first page, and repository files that pages link to become part of the site.

The documentation links to files of the repository by relative paths, which work in a checkout and on a forge. MkDocs
knows the files below ``docs/`` only, so each linked file is added below ``repository/`` and its links are rewritten.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

REPOSITORY = Path(__file__).resolve().parents[1]
DOCS = REPOSITORY / "docs"
README = REPOSITORY / "README.md"
_LINK = re.compile(r"(?<=\]\()(?![a-z]+:|#)([^)#\s]+)")


def on_files(files: Files, config: Any) -> Files:
    """Add README.md as ``index.md``, and every repository file that a page links to, directly or indirectly."""
    waiting, known = [README, *DOCS.glob("*.md")], set(DOCS.rglob("*"))
    while waiting:
        source = waiting.pop()
        if source not in known:
            known.add(source)
            files.append(File.generated(config, site_path(source), abs_src_path=str(source)))
        if source.suffix == ".md":
            waiting += [target for target in linked_files(source) if target not in known]
    return files


def on_page_markdown(markdown: str, page: Page, config: Any, files: Files) -> str:
    """Rewrite the relative links of a page for the site.

    Args:
        markdown: Text of the page.
        page: The page.
        config: Configuration of MkDocs.
        files: Files of the site.

    Returns:
        The text with links as they are in the site; links to missing files stay, for MkDocs to report.
    """
    source = Path(str(page.file.abs_src_path))

    def rewrite(link: re.Match[str]) -> str:
        target = (source.parent / link[1]).resolve()
        return os.path.relpath(site_path(target), Path(page.file.src_uri).parent) if target.is_file() else link[1]

    return _LINK.sub(rewrite, markdown)


def linked_files(page: Path) -> Iterable[Path]:
    """Yield the existing files that a Markdown file links to."""
    for link in _LINK.findall(page.read_text(encoding="utf-8")):
        target = (page.parent / link).resolve()
        if target.is_file():
            yield target


def site_path(source: Path) -> str:
    """Return the path of a repository file in the site, relative to its root."""
    if source == README:
        return "index.md"
    if source.is_relative_to(DOCS):
        return source.relative_to(DOCS).as_posix()
    return f"repository/{source.relative_to(REPOSITORY).as_posix()}"
