"""The summaries of people beside a generator's weights: read, written, added to a bundle that is there already."""

import json
from pathlib import Path

import safetensors.numpy
from safetensors import SafetensorError

from genomai_cli.bundles import catalog
from genomai_cli.errors import BundleError
from genomai_cli.metrics.summary import Summary


def to_bytes(summary: Summary) -> bytes:
    """The file's content."""
    return bytes(safetensors.numpy.save(summary.to_arrays()))


def read(name: str | Path) -> Summary | None:
    """The summaries in the bundle of this name or folder, None if it has none; BundleError for a damaged file."""
    file = catalog.find(name) / catalog.SUMMARY
    if not file.is_file():
        return None
    try:
        return Summary.from_arrays(safetensors.numpy.load_file(file))
    except (SafetensorError, KeyError, ValueError) as error:
        raise BundleError(f"{file}: damaged: {error}") from error


def add(folder: Path, summary: Summary) -> None:
    """Put summaries into a bundle, with their checksum; weights and all else stay as they are."""
    config = catalog.read_config(folder)
    file = folder / catalog.SUMMARY
    file.write_bytes(to_bytes(summary))
    config["files"] = config["files"] | {catalog.SUMMARY: catalog.sha256(file)}
    text = json.dumps(config, indent=2, ensure_ascii=False) + "\n"
    (folder / catalog.CONFIG).write_text(text, encoding="utf-8")
