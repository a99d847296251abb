"""Which device to compute on, and in which precision."""

import warnings
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import TypeVar

import torch
from torch import nn

from genomai_cli import threads as processor_threads
from genomai_cli.errors import DeviceError, UsageError

MAX_VALUES_IN_DOUBLE = 1 << 24  # values of a model
MAX_VALUES_CONVERTED = 1 << 30

Item = TypeVar("Item")
Output = TypeVar("Output")


def choose(name: str = "auto") -> torch.device:
    """The device called `auto`, `cpu`, `cuda`, `cuda:N` or `mps`; `auto` takes the first GPU that works.

    Raises UsageError if that device is not there, or does not work.
    """
    if name == "auto":
        return torch.device(_best())
    device = torch.device(name)
    if device.type == "cuda" and (failure := cuda_failure()):
        raise UsageError(f"--device {name}: {failure} (`genomai doctor` tells more)")
    if device.type == "cuda" and not _has_cuda(device.index or 0):
        raise UsageError(f"--device {name}: no such CUDA device here")
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise UsageError("--device mps: no Apple GPU here")
    return device


def mixed_precision(device: torch.device) -> torch.dtype | None:
    """The 16-bit type for training on the device: bfloat16 where the card has it, else float16.

    None on CPU and MPS, where training stays in float32.
    """
    if device.type != "cuda":
        return None
    with torch.cuda.device(device):
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.bfloat16 if native else torch.float16


def exact_precision(device: torch.device) -> torch.dtype:
    """The type for inference: float64 where the device has it, so that neither the batch size nor the
    number of threads shows in the printed digits; float32 on MPS, which has no float64."""
    return torch.float32 if device.type == "mps" else torch.float64


def affordable_precision(requested: torch.dtype, values: int) -> torch.dtype | None:
    """The type for a model of so many values, `requested` or a smaller one; None for the types that its file has.

    Double precision is for models that are small beside the program: above, it would cost twice the memory and more
    than twice the time for digits that such models do not have. The largest are not converted at all, since a file
    that is mapped as it is needs no memory of its own.
    """
    if values > MAX_VALUES_CONVERTED:
        return None
    return torch.float32 if values > MAX_VALUES_IN_DOUBLE else requested


def to_single_precision(modules: Iterable[nn.Module]) -> None:
    """Double precision halved, in place: their files have no more digits."""
    for module in modules:
        if any(tensor.dtype == torch.float64 for tensor in module.parameters()):
            module.float()


def map_single_threaded(function: Callable[[Item], Output], items: Iterable[Item]) -> list[Output]:
    """The function's outputs for all items, several at once, each on a single thread of the processor.

    Small networks use processors better this way, and no item's sums are shared out among threads.
    """
    threads = torch.get_num_threads()
    if threads == 1:
        return [function(item) for item in items]
    try:
        with ThreadPoolExecutor(threads, "item", torch.set_num_threads, (1,)) as pool:
            return list(pool.map(function, items))
    finally:
        torch.set_num_threads(threads)  # MKL's is one number for all threads


def use_threads(threads: int | None) -> None:
    """Compute with so many CPU threads; None leaves the choice to torch and numpy."""
    if threads is not None:
        processor_threads.use(threads)
        torch.set_num_threads(processor_threads.count())


@cache
def cuda_failure() -> str:
    """Why the CUDA devices of this machine cannot be used, '' if they can or there are none: a driver that is too old,
    or a card that this torch has no code for, shows only when it computes."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        if not torch.cuda.is_available():
            return next((_first_line(warning.message) for warning in caught), "")
        try:
            return "" if can_add("cuda") else "it adds wrongly"
        except RuntimeError as error:
            return _first_line(error)


def fallback_warning(name: str) -> str:
    """A warning that the device `auto` is not the GPU that is there, since it cannot be used; '' otherwise."""
    failure = cuda_failure() if name == "auto" else ""
    return f"the GPU cannot be used, the processor is: {failure}" if failure else ""


def _first_line(message: object) -> str:
    return next(iter(str(message).strip().splitlines()), "it does not say why")


def run_with_batch_halving(
    function: Callable[[Sequence[Item]], Sequence[Output]], batch: Sequence[Item]
) -> list[Output]:
    """The function's outputs for the items of a batch, at once or, where a GPU's memory does not hold them, in halves.

    Raises DeviceError if the memory does not hold a single one.
    """
    try:
        return list(function(batch))
    except RuntimeError as error:
        if not _is_out_of_memory(error):
            raise
        if len(batch) == 1:
            raise DeviceError(
                "the memory of the GPU does not hold one window: shorter ones, or --device cpu"
            ) from None
    torch.cuda.empty_cache()  # here: what the failed call held is let go with its error
    middle = len(batch) // 2
    return run_with_batch_halving(function, batch[:middle]) + run_with_batch_halving(
        function, batch[middle:]
    )


def _is_out_of_memory(error: RuntimeError) -> bool:
    of_cuda = isinstance(error, torch.cuda.OutOfMemoryError)
    return of_cuda or "MPS backend out of memory" in str(error)


def _best() -> str:
    if torch.cuda.is_available() and not cuda_failure():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def _has_cuda(index: int) -> bool:
    return torch.cuda.is_available() and index < torch.cuda.device_count()


def accelerators() -> dict[str, str]:
    """The names and memory of the GPUs that are here, by the device name that `choose` takes."""
    descriptions = {}
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        descriptions[f"cuda:{index}"] = (
            f"{properties.name}, {properties.total_memory / (1 << 30):.0f} GiB"
        )
    return descriptions | ({"mps": "Apple GPU"} if torch.backends.mps.is_available() else {})


def can_add(name: str) -> bool:
    """Whether the device can add two numbers, which needs a driver that fits; RuntimeError if it does not."""
    return float(torch.ones(2, device=name).sum()) == 2
