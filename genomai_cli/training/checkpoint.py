"""The state of a training run on disk, replaced in one piece so that any moment is a good one to die."""

import os
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch

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


def load(path: Path, device: torch.device) -> State:
    """The saved state; InputError for a file that holds none."""
    try:
        state: State = torch.load(path, map_location=device, weights_only=True)
    except (UnpicklingError, RuntimeError, ValueError, EOFError, OSError) as error:
        reason = str(error).splitlines() or [type(error).__name__]
        message = f"not a checkpoint: {reason[0]}"
        raise InputError(message, path=path) from error
    return state
