"""A checkpoint that JAX programs wrote with orbax, as a file of tensors, where the libraries of `genomai[jax]` are.

Trees become flat names, with `/` between keys; the items of a tuple, as Haiku's parameters and state, are put together.
"""

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from torch import Tensor

from genomai_cli import registry
from genomai_cli.bundles import catalog, hub
from genomai_cli.bundles.stored import bundle_errors
from genomai_cli.errors import BundleError


@contextmanager
def as_file(path: Path) -> Iterator[Path]:
    """The path itself or, of orbax's folder, a file of its tensors that is there as long as it is read.

    BundleError where the libraries are not installed, and for what they cannot read.
    """
    if not catalog.is_orbax(path):
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"{hub.name_of(path)}.safetensors"
        safetensors.torch.save_file(tensors(path), file)
        yield file


def tensors(folder: Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint by flat name, in float32."""
    try:
        jax, orbax = (registry.resolve(library) for library in ("jax", "orbax.checkpoint"))
    except ImportError as error:
        raise BundleError(
            f"{folder}: a checkpoint of JAX: `pip install 'genomai[jax]'` for what reads it ({error})"
        ) from error
    with bundle_errors(folder):
        checkpointer = orbax.PyTreeCheckpointer()
        tree = checkpointer.metadata(folder.resolve()).item_metadata.tree
        # As numpy arrays: the devices on which they were saved need not be here.
        restore_args = jax.tree.map(lambda _: orbax.RestoreArgs(restore_type=np.ndarray), tree)
        return dict(_flatten(checkpointer.restore(folder.resolve(), restore_args=restore_args), ()))


def _flatten(tree: Any, keys: tuple[str, ...]) -> Iterator[tuple[str, Tensor]]:
    if isinstance(tree, Mapping):
        for key, branch in tree.items():
            yield from _flatten(branch, (*keys, str(key)))
    elif isinstance(tree, list | tuple):
        for branch in tree:
            yield from _flatten(branch, keys)
    elif tree is not None:
        yield "/".join(keys), torch.from_numpy(np.array(tree, np.float32))
