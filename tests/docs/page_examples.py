"""The examples of the documentation: blocks of shell and Python, what they print, and why some cannot be run.

A block of `text` right below an example is what it prints; `...` stands for what is left out. An HTML comment above an
example, `<!-- test: not run, REASON -->`, keeps it from being run: its commands and options are looked up all the same.
"""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
PAGES = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").rglob("*.md"))]
OTHER_PAGES = [
    REPOSITORY / "examples/README.md",
    REPOSITORY / "workflows/README.md",
    *sorted((REPOSITORY / "models").glob("*/README.md")),
]
_BLOCK = re.compile(
    r"(?:^<!-- test: not run, (?P<reason>[^\n]*?) -->\n+)?"
    r"^```(?P<language>\w*)\n(?P<text>.*?)^```$"
    r"(?:\n+^```text\n(?P<output>.*?)^```$)?",
    re.MULTILINE | re.DOTALL,
)
_PROGRAM = re.compile(r"(?:^|[\s|(;&$])genomai ([a-z-].*)")


@dataclass(frozen=True)
class Example:
    """A block: `reason` says why it is not run, `output` what it prints, None where the page does not say."""

    page: Path
    line: int
    language: str
    text: str
    reason: str | None
    output: str | None

    @property
    def location(self) -> str:
        """PAGE:LINE."""
        return f"{self.page.relative_to(REPOSITORY)}:{self.line}"

    @property
    def commands(self) -> Iterator[list[str]]:
        """The arguments behind `genomai` of every call in it, up to the next pipe or redirection."""
        for line in self.text.replace("\\\n", " ").splitlines():
            match = _PROGRAM.search(line)
            while match:
                call = re.split(r"\s[|>&<]|;|\)(?:\s|$)", match[1])[0]
                yield shlex.split(call, comments=True)
                match = _PROGRAM.search(match[1])


def examples_of(page: Path) -> list[Example]:
    """The blocks of shell and Python of a page."""
    text = page.read_text()
    return [
        Example(
            page,
            text.count("\n", 0, match.start("language")) + 1,
            match["language"],
            match["text"],
            match["reason"],
            match["output"],
        )
        for match in _BLOCK.finditer(text)
        if match["language"] in ("sh", "python", "console", "")
    ]


@cache
def options_by_command() -> dict[str, set[str]]:
    """The options of every command, as its help lists them."""
    from genomai_cli.cli.app import help_pages

    return {
        page.path.removeprefix("genomai").strip(): {
            option
            for group in page.groups.values()
            for names, _ in group
            for option in re.findall(r"(?<![\w-])--?[a-z][\w-]*", names)
        }
        for page in help_pages()
    }


def unknown_arguments(arguments: list[str]) -> list[str]:
    """The command or the options of a call that the program does not have."""
    known = options_by_command()
    subcommand, first = " ".join(arguments[:2]), arguments[0] if arguments else ""
    command = subcommand if subcommand in known else first
    if command not in known:
        return [] if first.startswith("-") or first.isupper() else [command]
    given = {
        argument.partition("=")[0]
        for argument in arguments[1:]
        if re.match(r"--?[a-zA-Z]", argument)
    }
    return sorted(given - known[command])
