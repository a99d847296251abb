"""The state of a training run on disk, replaced in one piece so that any moment is a good one to die."""

import os
from collections.abc import Callable, Collection
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor

from genomai_cli.errors import InputError

State = dict[str, Any]


def save(path: Path, state: State) -> None:
    """Write the state beside the file, then put it in the file's place."""
    temporary = path.with_name(f"{path.name}.writing")
    with temporary.open("wb") as handle:
        torch.save(state, handle)
        handle.flush()
        os.fsync(handle.fileno())
    temporary.replace(path)


def load(path: Path, device: torch.device, parts: Collection[str] = ()) -> State:
    """The saved state; InputError for a file that holds none, or one without these parts."""
    try:
        state: State = torch.load(path, map_location=device, weights_only=True)
    except (UnpicklingError, RuntimeError, ValueError, EOFError, OSError) as error:
        reason = str(error).splitlines() or [type(error).__name__]
        message = f"not a checkpoint: {reason[0]}"
        raise InputError(message, path=path) from error
    if not isinstance(state, dict) or not state.keys() >= set(parts):
        raise InputError("a checkpoint of another version of the program", path=path)
    return state


def mapped(state: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """The state with every tensor in it changed."""
    if isinstance(state, Tensor):
        return change(state)
    if isinstance(state, dict):
        return {name: mapped(value, change) for name, value in state.items()}
    if isinstance(state, list | tuple):
        return [mapped(value, change) for value in state]
    return state
