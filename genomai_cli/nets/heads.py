"""The last layers of a network, one a head."""

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
