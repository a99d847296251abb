"""A small convolutional network after Basenji (Kelley et al. 2018, doi:10.1101/gr.227819.117), to compare with.

Seven convolutions, each followed by a pooling of two, to bins of 128 bases; five dilated ones beside residuals; a layer
a species to its tracks, with softplus. Poisson loss of values in units of each track's mean; half of the windows are
read along the other strand.

Shape suffixes: B windows, L letters, R bins, C channels or tracks.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

POOLINGS, DILATIONS = 7, (1, 2, 4, 8, 16)
CONTEXT = 8192  # letters that are read on each side of the bins


class Basenji(nn.Module):
    """Indicators of letters (B, 4, L) to a species' tracks (B, R, C)."""

    def __init__(self, tracks: Mapping[str, int], width: int = 48, growth: int = 8) -> None:
        super().__init__()
        widths = [width + growth * n for n in range(POOLINGS)]
        self.convs = nn.ModuleList(
            Conv(before, after, kernel_size)
            for before, after, kernel_size in zip(
                [4, *widths], widths, [15] + [5] * (POOLINGS - 1), strict=False
            )
        )
        self.dilated = nn.ModuleList(Conv(widths[-1], widths[-1], 3, d) for d in DILATIONS)
        self.heads = nn.ModuleDict(
            {name: nn.Conv1d(widths[-1], count, 1) for name, count in tracks.items()}
        )

    def forward(self, letters_B4L: Tensor, species: str) -> Tensor:
        """See the class."""
        x_BCL = letters_B4L
        for conv in self.convs:
            x_BCL = functional.max_pool1d(conv(x_BCL), 2)
        for conv in self.dilated:
            x_BCL = x_BCL + conv(x_BCL)
        margin = CONTEXT >> POOLINGS
        tracks_BRC: Tensor = functional.softplus(self.heads[species](x_BCL)).transpose(1, 2)
        return tracks_BRC[:, margin : tracks_BRC.shape[1] - margin]


class Conv(nn.Sequential):
    """A convolution, a norm over the batch and a GELU."""

    def __init__(self, inputs: int, outputs: int, kernel_size: int, dilation: int = 1) -> None:
        super().__init__(
            nn.Conv1d(inputs, outputs, kernel_size, padding="same", dilation=dilation),
            nn.BatchNorm1d(outputs),
            nn.GELU(),
        )


@dataclass(frozen=True, eq=False)
class Windows:
    """Letters (W, L) as 0 to 3 and 4 for N, and values (W, R, C) of a species' windows; `partners` of its tracks on the
    other strand."""

    letters: NDArray[np.uint8]
    values: NDArray[np.float32]
    partners: Sequence[int]


def indicators(letters_BL: NDArray[np.uint8]) -> Tensor:
    """(B, 4, L)."""
    return torch.from_numpy(letters_BL[:, None] == np.arange(4)[:, None]).float()


def train(
    windows_by_species: Mapping[str, Windows], seconds: float, seed: int = 0
) -> tuple[Basenji, int]:
    """The network after so many seconds of processor time, and how many steps these were; the learning rate falls to 0
    with what is left of them."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    network = Basenji(
        {name: windows.values.shape[2] for name, windows in windows_by_species.items()}
    )
    optimizer = torch.optim.AdamW(network.parameters(), weight_decay=0.01)
    names = [
        name for name, windows in windows_by_species.items() for _ in windows.letters
    ]  # by their number
    began, steps = time.process_time(), 0
    while (progress := (time.process_time() - began) / seconds) < 1:
        for group in optimizer.param_groups:
            group["lr"] = 2e-3 * (1 - progress)
        species = names[rng.integers(len(names))]
        loss = _loss(network, windows_by_species[species], species, rng)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        steps += 1
    return network.eval(), steps


def _loss(network: Basenji, windows: Windows, species: str, rng: np.random.Generator) -> Tensor:
    row = rng.integers(len(windows.letters))
    letters_BL, values_BRC = windows.letters[[row]], windows.values[[row]]
    if rng.random() < 0.5:
        letters_BL = np.where(letters_BL < 4, 3 - letters_BL, 4)[:, ::-1]
        values_BRC = values_BRC[:, ::-1][..., list(windows.partners)]
    predicted_BRC = network(indicators(letters_BL), species)
    target_BRC = torch.from_numpy(np.ascontiguousarray(values_BRC))
    return (predicted_BRC - target_BRC * (predicted_BRC + 1e-7).log()).mean()


def predict(network: Basenji, windows: Windows, species: str) -> NDArray[np.float32]:
    """The tracks (W, R, C), in units of their means."""
    with torch.inference_mode():
        rows = [network(indicators(row[None]), species)[0].numpy() for row in windows.letters]
    return np.stack(rows)
