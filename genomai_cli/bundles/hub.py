"""Checkpoints on Hugging Face as folders: `hf:OWNER/NAME@REVISION`, where the library huggingface_hub is installed.

The revision is always named, since what an unnamed one holds changes. Files come into the library's cache, where a
large one lies under its SHA-256 as recorded there, which is compared with its content; once fetched, no network is
needed.
"""

import re
from collections.abc import Callable
from functools import cache
from pathlib import Path

from genomai_cli import registry
from genomai_cli.errors import BundleError

PREFIX = "hf:"
LIBRARY = "huggingface_hub"
NAME = re.compile(r"hf:(?P<repository>[\w.-]+/[\w.-]+)@(?P<revision>[\w./-]+)")
FILES = ("config.json", "vocab.txt", "*.safetensors", "*.safetensors.index.json",
         "pytorch_model*", "*.ckpt", "*.pt", "*.pt.part*")  # fmt: skip
SHA256 = re.compile(r"[0-9a-f]{64}")
SNAPSHOT = re.compile(r"models--.+?--(?P<name>.+)/snapshots/[^/]+")


@cache
def fetch(name: str, sha256: Callable[[Path], str]) -> Path:
    """The folder of the checkpoint of that name; BundleError where it cannot be had, or a file is not as recorded."""
    parsed = NAME.fullmatch(name)
    if parsed is None:
        raise BundleError(f"{name}: not of the form hf:OWNER/NAME@REVISION")
    try:
        download = registry.resolve(f"{LIBRARY}:snapshot_download")
    except ImportError as error:
        raise BundleError(
            f"{name}: `pip install {LIBRARY}` for models from Hugging Face, or name a folder with the files"
        ) from error
    try:
        folder = download(
            parsed["repository"], revision=parsed["revision"], allow_patterns=list(FILES)
        )
    except (
        Exception
    ) as error:  # the library has dozens of kinds, of its own and of those beneath it
        line = next(iter(str(error).strip().splitlines()), repr(error))
        raise BundleError(f"{name}: {line}") from error
    for file in sorted(Path(folder).rglob("*")):
        recorded = file.resolve().name
        if SHA256.fullmatch(recorded) and sha256(file) != recorded:
            raise BundleError(f"{name}: {file.name} is not as recorded: remove {file.resolve()}")
    return Path(folder)


def name_of(folder: Path) -> str:
    """What a model in this folder is called: the folder, or the repository that it is a snapshot of."""
    snapshot = SNAPSHOT.search(folder.absolute().as_posix())
    return snapshot["name"] if snapshot else folder.resolve().name
