"""Phenotype records as tensors, and the embeddings of the vocabulary that their columns are written in.

Shape suffixes: R records, C categories, M numbers, K columns (`Columns.names`), V tokens, D width, A anchors.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from genomai_cli.population.phenotype_encoding import EncodedPhenotypes
from genomai_cli.population.phenotypes import NUMBER_ANCHORS, Columns, location_anchors

NUMBER_REACH = 0.5  # standard deviations over which an anchor stands for a number
LOCATION_REACH = 0.3  # radians, 1,900 km
TICKS_PER_UNIT, UNKNOWN_TICKS = 1 << 24, 1 << 40  # numbers are integers in views


@dataclass(frozen=True, eq=False)
class PhenotypeRecords:
    """`EncodedPhenotypes` as tensors: categories (R, C), numbers (R, M) and locations (R, 3 or 0)."""

    categories: Tensor
    numbers: Tensor
    locations: Tensor

    @classmethod
    def of(
        cls, encoded: EncodedPhenotypes, device: torch.device | None = None
    ) -> "PhenotypeRecords":
        """The records as tensors."""
        arrays = (encoded.categories, encoded.numbers, encoded.locations)
        return cls(*(torch.from_numpy(array).to(device) for array in arrays))

    def __len__(self) -> int:
        return len(self.categories)

    @classmethod
    def of_views(cls, views: Mapping[str, Tensor]) -> "PhenotypeRecords":
        """The records of `views_of`."""
        return cls(
            views["categories"], *(from_ticks(views[name]) for name in ("numbers", "places"))
        )

    def known(self) -> Tensor:
        """Whether columns (R, K) are known."""
        parts = [self.categories >= 0, ~self.numbers.isnan(), ~self.locations[:, :1].isnan()]
        return torch.cat(parts, dim=1)


def views_of(encoded: EncodedPhenotypes) -> dict[str, NDArray[np.int64]]:
    """Records as views of training samples: `categories`, `numbers` and `places`."""
    return {
        "categories": encoded.categories,
        "numbers": ticks(encoded.numbers),
        "places": ticks(encoded.locations),
    }


def ticks(values: NDArray[Any]) -> NDArray[np.int64]:
    """Numbers as integers."""
    integers = np.rint(np.nan_to_num(values) * TICKS_PER_UNIT).astype(np.int64)
    return np.where(np.isnan(values), UNKNOWN_TICKS, integers)


def from_ticks(integers: Tensor) -> Tensor:
    """The numbers of `ticks`."""
    return (
        (integers.double() / TICKS_PER_UNIT)
        .float()
        .masked_fill(integers == UNKNOWN_TICKS, math.nan)
    )


class Vocabulary(nn.Module):
    """An embedding for every token of the columns; a number or a location is a mean of the anchors near it.

    An anchor without a training record near it keeps the value 0: a location without samples has no effect.
    """

    numbers: Tensor
    locations: Tensor

    def __init__(self, columns: Columns, width: int) -> None:
        super().__init__()
        self.bounds = columns.bounds
        self.embeddings = nn.Parameter(torch.empty(sum(columns.sizes), width))
        self.column = nn.Parameter(torch.empty(len(columns), width))
        numbers = torch.from_numpy(NUMBER_ANCHORS).float()
        locations = torch.from_numpy(location_anchors()).float()
        self.register_buffer("numbers", numbers, persistent=False)
        self.register_buffer("locations", locations, persistent=False)
        self.labels = sum(len(column.labels) for column in columns.categories)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Small embeddings, none for anchors."""
        nn.init.normal_(self.embeddings, std=self.embeddings.shape[1] ** -0.5)
        nn.init.zeros_(self.embeddings[self.labels :])
        nn.init.normal_(self.column, std=self.column.shape[1] ** -0.5)

    def forward(self, records: PhenotypeRecords) -> tuple[Tensor, Tensor]:
        """A token (R, K, D) for every column, and which of them are known (R, K)."""
        tokens = [
            weights_RA.to(self.embeddings.dtype) @ self.embeddings[begin:end] + column_D
            for weights_RA, (begin, end), column_D in zip(
                self.weights(records), self.bounds, self.column, strict=True
            )
        ]
        return torch.stack(tokens, dim=1), records.known()

    def weights(self, records: PhenotypeRecords) -> list[Tensor]:
        """The weights (R, A) of each column's tokens for its value, 0 where it is unknown."""
        weights = []
        for number_R, (begin, end) in zip(records.categories.T, self.bounds, strict=False):
            labels_RA = functional.one_hot(number_R.clamp(min=0), end - begin)
            weights.append(labels_RA * (number_R >= 0)[:, None])
        for value_R in records.numbers.T:
            distance_RA = (value_R.nan_to_num()[:, None] - self.numbers) / NUMBER_REACH
            weights.append((-distance_RA.square() / 2).softmax(1) * ~value_R.isnan()[:, None])
        if records.locations.shape[1]:
            cosine_RA = records.locations.nan_to_num().to(self.locations.dtype) @ self.locations.T
            similarity_RA = (cosine_RA / LOCATION_REACH**2).softmax(1)
            weights.append(similarity_RA * ~records.locations[:, :1].isnan())
        return weights
