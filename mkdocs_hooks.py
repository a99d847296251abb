"""The documentation's site: pages of the whole repository, and the reference made from the program's help.

`docs/` is the root of the site; READMEs, cards and tables beside it keep their paths. Links are rewritten from where a
page lies in the repository to where it lies in the site; what the site does not have is text without a link.
"""

import os
import posixpath
import re
import sys
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

ROOT = Path(__file__).parent
BESIDE = (
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "examples/**/*.md",
    "workflows/*.md",
    "models/*/*.md",
    "benchmarks/**/*.md",
)
LINK = re.compile(r"(!?\[(?:[^\]\[]|\[[^\]]*\])*\])\(([^)#\s]*)(#[^)\s]*)?\)")


def on_files(files: Any, config: Any) -> Any:
    """Add the pages beside `docs/`, and the reference."""
    for pattern in BESIDE:
        for page in sorted(ROOT.glob(pattern)):
            name = page.relative_to(ROOT).as_posix()
            files.append(File.generated(config, name, abs_src_path=str(page)))
    sys.path.insert(0, str(ROOT))
    from genomai_cli.cli.app import help_pages
    from genomai_cli.cli.help_pages import markdown

    files.append(File.generated(config, "reference.md", content=markdown(help_pages())))
    return files


def on_page_markdown(text: str, page: Any, config: Any, files: Any) -> str:
    """The page with its links rewritten, but in examples."""
    del config
    if page.file.src_uri == "reference.md":
        return text
    here = _in_repository(page.file)
    parts = re.split(r"(^```.*?^```$)", text, flags=re.MULTILINE | re.DOTALL)
    return "".join(
        part if part.startswith("```") else LINK.sub(lambda m: _link(m, here, page, files), part)
        for part in parts
    )


def _in_repository(file: Any) -> str:
    return Path(os.path.relpath(file.abs_src_path, ROOT)).as_posix()


def _link(found: re.Match[str], here: str, page: Any, files: Any) -> str:
    shown, target, anchor = found[1], found[2], found[3] or ""
    if not target or ":" in target:
        return found[0]
    there = posixpath.normpath(posixpath.join(posixpath.dirname(here), target))
    inside = there.removeprefix("docs/")
    if files.get_file_from_path(inside) is None:
        return shown.lstrip("!")[1:-1]
    start = posixpath.dirname(page.file.src_uri)
    return f"{shown}({posixpath.relpath(inside, start or '.')}{anchor})"
