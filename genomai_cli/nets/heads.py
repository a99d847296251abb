"""The last layers of a network: one a head, and those that guess words.

Shape suffixes: B samples, S sites, V words of the vocabulary, D width.
"""

from collections.abc import Callable, Mapping

from torch import Tensor, nn


class Heads(nn.ModuleList):
    """A layer for each head; `layer(classes)` makes one with so many outputs."""

    def __init__(self, classes: Mapping[str, int], layer: Callable[[int], nn.Module]) -> None:
        super().__init__(layer(count) for count in classes.values())
        self.names = list(classes)

    def forward(self, pooled_BD: Tensor) -> dict[str, Tensor]:
        """The logits (B, classes) of every head."""
        return {name: layer(pooled_BD) for name, layer in zip(self.names, self, strict=True)}


class WordHead(nn.Sequential):
    """A word's vector (..., D) to the logits (..., V) of what it may be, as BERT has it."""

    def __init__(self, width: int, vocabulary: int) -> None:
        layers = (nn.Linear(width, width), nn.GELU(), nn.LayerNorm(width))
        super().__init__(*layers, nn.Linear(width, vocabulary))


class SiteHead(nn.Linear):
    """A sample's vector (B, D) to the logits (B, S, V) of what its sites may hold."""

    def __init__(self, width: int, sites: int, vocabulary: int) -> None:
        super().__init__(width, sites * vocabulary)
        self.sites = sites

    def forward(self, pooled_BD: Tensor) -> Tensor:
        """The logits of every site."""
        return super().forward(pooled_BD).view(len(pooled_BD), self.sites, -1)
