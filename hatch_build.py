"""The build's hook: man pages, made from the program's own help, for `share/man/man1`."""

import sys
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class ManPages(BuildHookInterface[Any]):
    """Adds a page for the program and for every command to the wheel."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Write them to a folder that is there as long as the build."""
        del version
        sys.path.insert(0, self.root)
        from genomai_cli.cli.app import manual

        self.folder = tempfile.TemporaryDirectory()
        for name, text in manual().items():
            page = Path(self.folder.name) / name
            page.write_text(text, encoding="utf-8")
            build_data["shared_data"][str(page)] = f"share/man/man1/{name}"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Remove the folder."""
        del version, build_data, artifact_path
        self.folder.cleanup()
