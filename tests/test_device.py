"""Devices that are full or broken, simulated by networks and a patched torch: no GPU is needed."""

import numpy as np
import pytest
import torch

from genomai_cli import device
from genomai_cli.cli.exits import describe
from genomai_cli.errors import DeviceError, UsageError
from genomai_cli.inference.batching import score_windows

FULL = torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")


class LimitedMemoryNetwork:
    """A network on a device whose memory holds so many windows."""

    def __init__(self, capacity):
        self.capacity, self.batches = capacity, []

    def __call__(self, ids_BT, mask_BT):
        self.batches.append(len(ids_BT))
        if len(ids_BT) > self.capacity:
            raise FULL
        return {"sum": (ids_BT * mask_BT).sum(1, keepdim=True).double()}


def scored(network):
    windows = [(n, None if n == 3 else np.arange(n + 1)) for n in range(8)]
    results = score_windows(network, windows, pad_id=9, device=torch.device("cpu"))
    return [(n, None if scores is None else scores["sum"].item()) for n, scores in results]


@pytest.mark.parametrize("capacity", [1, 2, 3, 4])
def test_a_batch_that_the_memory_does_not_hold_is_halved_and_gives_the_same(capacity):
    network = LimitedMemoryNetwork(capacity)
    assert scored(network) == scored(LimitedMemoryNetwork(99))
    assert network.batches[0] == 7
    assert any(size <= capacity for size in network.batches)


def test_a_window_that_the_memory_does_not_hold_is_refused_with_a_remedy():
    with pytest.raises(DeviceError, match=r"does not hold one window.*--device cpu"):
        scored(LimitedMemoryNetwork(0))


def test_another_error_of_a_network_is_not_taken_for_a_full_memory():
    def network(ids_BT, mask_BT):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="cannot be multiplied"):
        scored(network)


def test_a_full_memory_elsewhere_is_one_line_with_a_remedy():
    assert "the memory of the GPU is full" in describe(FULL)
    assert "unexpected" not in describe(FULL)


@pytest.fixture
def gpu(monkeypatch):
    """A CUDA device that is there, and fails at its first sum."""

    def fails(name):
        raise RuntimeError(
            "CUDA error: no kernel image is available\nCompile with TORCH_USE_CUDA_DSA"
        )

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    monkeypatch.setattr(device, "can_add", fails)
    device.cuda_failure.cache_clear()
    yield
    device.cuda_failure.cache_clear()


@pytest.mark.usefixtures("gpu")
def test_a_gpu_that_does_not_work_is_skipped_with_a_warning():
    assert device.choose("auto") == torch.device("cpu")
    warning = device.fallback_warning("auto")
    assert (
        warning
        == "the GPU cannot be used, the processor is: CUDA error: no kernel image is available"
    )
    assert device.fallback_warning("cpu") == ""


@pytest.mark.usefixtures("gpu")
def test_a_gpu_that_does_not_work_is_refused_when_asked_for():
    with pytest.raises(UsageError, match=r"--device cuda: CUDA error: no kernel image .*doctor"):
        device.choose("cuda")


def test_a_driver_that_is_too_old_is_reported(monkeypatch):
    def without_driver():
        import warnings

        warnings.warn(
            "CUDA initialization: The NVIDIA driver on your system is too old", stacklevel=1
        )
        return False

    monkeypatch.setattr(torch.cuda, "is_available", without_driver)
    device.cuda_failure.cache_clear()
    assert "driver on your system is too old" in device.fallback_warning("auto")
    device.cuda_failure.cache_clear()
