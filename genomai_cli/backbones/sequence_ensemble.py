"""Networks for short labelled sequences, side by side: regressions on k-mers and on positions, and convolutions.

Every part reads single letters and gives logits; the heads on top weigh the parts. Which parts there are is chosen on
held-out sequences (`training.selection`).

- `kmers`: a softmax regression on the frequencies of all k-mers up to a length (`kmer_regression`).
- `positions`: a softmax regression on the letter at each position, for sequences of one length.
- `convolution`: filters as wide as a motif (Alipanahi et al. 2015, Nat Biotechnol 33:831, DeepBind), pooled, a second
  layer of neighbouring motifs, and the strongest and the mean answer over the sequence. With both strands, each is read
  by the same filters and the larger answer counts, so that a sequence and its reverse complement are the same. With
  `bins`, the answers in so many parts of a sequence of one length are kept apart as well.

Padding never enters an answer: a sequence has the same logits in any batch.

Shape suffixes: B sequences, L letters, A bases, C filters, P pooled positions, E embedding, O outputs (the classes of
all heads).
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from genomai_cli.alphabet import BASES, UNKNOWN_CODE
from genomai_cli.backbones.base import Network
from genomai_cli.backbones.kmer_regression import KMERS, KmerRegression, KmersConfig

POSITIONS, CONVOLUTION = "positions", "convolution"
BIN_CHANNELS = 16  # of the means of each bin
MOMENTUM = 0.02  # of the statistics of normalisation, as slow as the average of the weights


@dataclass(frozen=True)
class PositionsConfig:
    """The letters of sequences of this length."""

    length: int
    kind: str = POSITIONS


@dataclass(frozen=True)
class ConvolutionConfig:
    """`filters` of `width` letters, pooled by `pool`, then `channels` over `reach` pooled positions; with `bins`, also
    of each part of a sequence of `length` letters."""

    filters: int = 256
    width: int = 15
    pool: int = 4
    channels: int = 96
    reach: int = 5
    both_strands: bool = True
    bins: int = 0
    length: int = 0
    embedding: int = 64
    dropout: float = 0.4
    filter_dropout: float = 0.2
    kind: str = CONVOLUTION


PartConfig = KmersConfig | PositionsConfig | ConvolutionConfig


class PositionRegression(nn.Module):
    """Logits (B, O) of codes (B, L): a linear function of the letter at each of the first `length` positions."""

    def __init__(self, config: PositionsConfig, outputs: int) -> None:
        super().__init__()
        self.config = config
        self.linear = nn.Linear(config.length * len(BASES), outputs)

    def features(self, codes_BL: Tensor) -> Tensor:
        """An indicator a position and base: (B, 4 L)."""
        return (
            one_hot(fit_to_length(codes_BL, self.config.length))
            .flatten(1)
            .to(self.linear.weight.dtype)
        )

    def forward(self, codes_BL: Tensor) -> Tensor:
        """See the class."""
        logits_BO: Tensor = self.linear(self.features(codes_BL))
        return logits_BO

    def base_gradients(self, codes_BL: Tensor, weight_BO: Tensor) -> Tensor:
        """See `Kmers.base_gradients`."""
        gradients_BLA = (weight_BO @ self.linear.weight).view(len(codes_BL), -1, len(BASES))
        return _values_to_length(gradients_BLA, codes_BL.shape[1])


def one_hot(codes_BL: Tensor) -> Tensor:
    """Indicators (B, L, 4) of the bases, all 0 for an unknown letter."""
    bases_BLA: Tensor = functional.one_hot(codes_BL, UNKNOWN_CODE + 1)[..., :UNKNOWN_CODE]
    return bases_BLA


def fit_to_length(codes_BL: Tensor, length: int) -> Tensor:
    """The first `length` letters, unknown ones behind the end."""
    missing = max(0, length - codes_BL.shape[1])
    return functional.pad(codes_BL[:, :length], (0, missing), value=UNKNOWN_CODE)


def _values_to_length(values_BLA: Tensor, length: int) -> Tensor:
    """The values of the first `length` positions, zeros behind the end."""
    values_BLA = values_BLA[:, :length]
    return functional.pad(values_BLA, (0, 0, 0, length - values_BLA.shape[1]))


class Convolution(nn.Module):
    """Logits (B, O) of codes (B, L), by way of an embedding (B, E)."""

    def __init__(self, config: ConvolutionConfig, outputs: int) -> None:
        super().__init__()
        self.config = config
        self.filters = nn.Linear(len(BASES) * config.width, config.filters)
        self.filter_norm = nn.BatchNorm1d(config.filters, momentum=MOMENTUM)
        self.neighbours = nn.Conv1d(
            config.filters, config.channels, config.reach, padding=config.reach // 2
        )
        self.neighbour_norm = nn.BatchNorm1d(config.channels, momentum=MOMENTUM)
        pooled = config.filters + 2 * config.channels
        self.places = nn.Conv1d(config.channels, BIN_CHANNELS, 1) if config.bins else None
        self.embed = nn.Linear(pooled + config.bins * BIN_CHANNELS, config.embedding)
        self.logits = nn.Linear(config.embedding, outputs)

    def forward(self, codes_BL: Tensor, real_BL: Tensor) -> tuple[Tensor, Tensor]:
        """The logits, and the embedding; `real_BL` is False at padding."""
        return self._outputs(one_hot(codes_BL).to(self.filters.weight.dtype), real_BL)

    def base_gradients(self, codes_BL: Tensor, real_BL: Tensor, weight_BO: Tensor) -> Tensor:
        """The gradient (B, L, 4) of the logits, weighed (B, O) and summed, by the indicators of bases."""
        one_hot_BLA = one_hot(codes_BL).to(self.filters.weight.dtype).requires_grad_()
        with torch.enable_grad():
            logits_BO, _ = self._outputs(one_hot_BLA, real_BL)
            (gradients_BLA,) = torch.autograd.grad((logits_BO * weight_BO).sum(), one_hot_BLA)
        return gradients_BLA

    def _outputs(self, one_hot_BLA: Tensor, real_BL: Tensor) -> tuple[Tensor, Tensor]:
        """Logits and embedding of indicators."""
        if self.config.bins:
            one_hot_BLA = _values_to_length(one_hot_BLA, self.config.length)
            real_BL = torch.ones_like(one_hot_BLA[..., 0], dtype=torch.bool)
        embedding_BE = self._embedding(one_hot_BLA, real_BL)
        return self._head(embedding_BE), embedding_BE

    def _embedding(self, one_hot_BLA: Tensor, real_BL: Tensor) -> Tensor:
        config = self.config
        if config.both_strands:
            both_BLA = torch.cat([one_hot_BLA, reverse_complement_one_hot(one_hot_BLA, real_BL)])
            forward_BD, reverse_BD = self._pooled(both_BLA, real_BL.repeat(2, 1)).chunk(2)
            pooled_BD = torch.maximum(forward_BD, reverse_BD)
        else:
            pooled_BD = self._pooled(one_hot_BLA, real_BL)
        dropped_BD = functional.dropout(pooled_BD, config.dropout, self.training)
        embedding_BE: Tensor = functional.gelu(self.embed(dropped_BD))
        return embedding_BE

    def _head(self, embedding_BE: Tensor) -> Tensor:
        dropped_BE = functional.dropout(embedding_BE, self.config.dropout / 2, self.training)
        logits_BO: Tensor = self.logits(dropped_BE)
        return logits_BO

    def _pooled(self, one_hot_BLA: Tensor, real_BL: Tensor) -> Tensor:
        """The strongest answer of every filter and channel, the channels' means, and their means in every bin."""
        config = self.config
        activations_BPC = self._filtered(one_hot_BLA, real_BL)
        real_BP = functional.pad(real_BL, (0, -real_BL.shape[1] % config.pool))
        real_BP = real_BP.view(len(real_BP), -1, config.pool).any(2)
        real_B1P = real_BP.unsqueeze(1)
        activations_BCP = functional.relu(
            _normalised(self.filter_norm, activations_BPC, real_BP)
        ).transpose(1, 2)
        dropped_BCP = _dropped(activations_BCP, config.filter_dropout, self.training)
        mixed_BPC = self.neighbours(dropped_BCP).transpose(1, 2)
        mixed_BCP = functional.gelu(_normalised(self.neighbour_norm, mixed_BPC, real_BP)).transpose(
            1, 2
        )
        lowest = torch.finfo(mixed_BCP.dtype).min
        features = [
            activations_BCP.amax(2),
            mixed_BCP.masked_fill(~real_B1P, lowest).amax(2),
            (mixed_BCP * real_B1P).sum(2) / real_B1P.sum(2).clamp(min=1),
        ]
        if self.places is not None:
            binned_BCP = self.places(mixed_BCP * real_B1P)
            features.append(functional.adaptive_avg_pool1d(binned_BCP, config.bins).flatten(1))
        return torch.cat(features, dim=1)

    def _filtered(self, one_hot_BLA: Tensor, real_BL: Tensor) -> Tensor:
        """What every filter answers, rectified: means (B, P, C) over `pool` letters, padding as 0."""
        config = self.config
        left, right = config.width // 2, (config.width - 1) // 2
        windows_BLX = (
            functional.pad(one_hot_BLA, (0, 0, left, right)).unfold(1, config.width, 1).flatten(2)
        )
        remainder = windows_BLX.shape[1] % config.pool
        sizes = [windows_BLX.shape[1] - remainder, remainder]
        all_real = bool(real_BL.all())
        sums = []
        # The last letters apart: to fill up their answers would copy all others, forth and back.
        parts = zip(torch.split(windows_BLX, sizes, 1), torch.split(real_BL, sizes, 1), strict=True)
        for part_BLX, part_BL in parts:
            if part_BLX.shape[1]:
                activations_BLC = torch.relu_(self.filters(part_BLX))
                if not all_real:
                    activations_BLC = activations_BLC * part_BL.unsqueeze(2)
                size = min(config.pool, part_BLX.shape[1])
                sums.append(
                    activations_BLC.view(len(activations_BLC), -1, size, config.filters).sum(2)
                )
        return torch.cat(sums, dim=1) / config.pool


def _dropped(values: Tensor, rate: float, training: bool) -> Tensor:
    """Dropout of a share in 1/256, by a byte a value: a draw for each takes longer than the filters themselves."""
    threshold = round(256 * rate)
    if not training or not threshold:
        return values
    count = values.numel()
    draws = torch.empty(-(-count // 8), dtype=torch.int64, device=values.device)
    draws.random_(torch.iinfo(torch.int64).min, None)
    keep = draws.view(torch.uint8)[:count].view(values.shape) >= threshold
    return values * (keep * (256 / (256 - threshold)))


def reverse_complement_one_hot(one_hot_BLA: Tensor, real_BL: Tensor) -> Tensor:
    """The indicators of the reverse complement; padding stays behind the end."""
    position_L = torch.arange(one_hot_BLA.shape[1], device=one_hot_BLA.device)
    source_BL = (real_BL.sum(1, keepdim=True) - 1 - position_L).clamp(min=0)
    complement_BLA = one_hot_BLA.flip(2).gather(1, source_BL[..., None].expand_as(one_hot_BLA))
    return complement_BLA * real_BL.unsqueeze(2)


def _normalised(norm: nn.BatchNorm1d, values_BPC: Tensor, real_BP: Tensor) -> Tensor:
    """The values normalised over the real positions of a batch, or by training's statistics; 0 at the others."""
    if bool(real_BP.all()):
        all_NC: Tensor = norm(values_BPC.flatten(0, 1).to(norm.weight.dtype))
        return all_NC.view(values_BPC.shape)
    real_NC = norm(values_BPC[real_BP].to(norm.weight.dtype))
    full_BPC = torch.zeros(values_BPC.shape, dtype=real_NC.dtype, device=values_BPC.device)
    full_BPC[real_BP] = real_NC
    return full_BPC


CONFIGS: dict[str, type[PartConfig]] = {
    KMERS: KmersConfig,
    POSITIONS: PositionsConfig,
    CONVOLUTION: ConvolutionConfig,
}


def build_part(config: PartConfig, outputs: int) -> nn.Module:
    """One untrained part."""
    if isinstance(config, KmersConfig):
        return KmerRegression(config, outputs)
    if isinstance(config, PositionsConfig):
        return PositionRegression(config, outputs)
    return Convolution(config, outputs)


@dataclass(frozen=True)
class SequenceEnsembleConfig:
    """The `parts`, each as a table with its `kind`, and how many `outputs` each has: the classes of all heads."""

    vocabulary: int = 0
    pad_id: int = 0
    outputs: int = 0
    parts: list[dict[str, Any]] = field(default_factory=list)
    longest: int = 4096  # letters that are read at once

    def __post_init__(self) -> None:
        self.part_configs  # noqa: B018 - refuses those that are wrong

    @property
    def part_configs(self) -> list[PartConfig]:
        """The parts; ValueError for one that is unknown or has no such sizes."""
        found = []
        for part in self.parts:
            if part.get("kind") not in CONFIGS:
                raise ValueError(f"no part {part.get('kind')!r} (there are: {', '.join(CONFIGS)})")
            found.append(CONFIGS[part["kind"]](**part))
        return found

    @classmethod
    def of(cls, parts: Sequence[PartConfig], **sizes: int) -> "SequenceEnsembleConfig":
        """The config of these parts."""
        return cls(parts=[asdict(part) for part in parts], **sizes)


class SequenceEnsemble(Network):
    """Ids of single letters (B, L) to vectors: the embeddings of the convolutions; heads read the logits of all
    parts."""

    config_class = SequenceEnsembleConfig
    selects_parts: ClassVar[bool] = True
    has_token_gradients = True
    num_layers = 1

    def __init__(self, config: SequenceEnsembleConfig) -> None:
        super().__init__()
        self.config = config
        self.max_length = config.longest
        parts = config.part_configs
        self.parts = nn.ModuleList(build_part(part, config.outputs) for part in parts)
        embeddings = [p.embedding for p in parts if isinstance(p, ConvolutionConfig)]
        self.hidden_size = sum(embeddings) or len(parts) * config.outputs

    def classification_head(self, classes: int) -> nn.Module:
        """A weight for every logit of every part."""
        return nn.Linear(len(self.parts) * self.config.outputs, classes)

    def head_vectors(self, inputs: Tensor, mask_BT: Tensor | None = None) -> Tensor:
        """The logits of all parts, one part after another: (B, parts * O)."""
        return torch.cat([logits_BO for logits_BO, _ in self._outputs(inputs, mask_BT)], dim=1)

    def pooled(
        self, inputs: Tensor, mask_BT: Tensor | None = None, layer: int | None = None
    ) -> Tensor:
        """The embeddings of the convolutions side by side (B, E), the logits where there is no convolution; the same
        at every layer."""
        del layer
        outputs = self._outputs(inputs, mask_BT)
        embeddings = [embedding for _, embedding in outputs if embedding is not None]
        return torch.cat(embeddings or [logits_BO for logits_BO, _ in outputs], dim=1)

    def token_gradients(
        self, ids_BT: Tensor, mask_BT: Tensor | None, value: Callable[[Tensor], Tensor]
    ) -> Tensor:
        """See `Network`; those of all tokens but the bases are 0."""
        codes_BL, real_BL = codes_of_ids(ids_BT, mask_BT)
        vectors_BX = self.head_vectors(ids_BT, mask_BT).detach().requires_grad_()
        with torch.enable_grad():
            (weight_BX,) = torch.autograd.grad(value(vectors_BX), vectors_BX)
        gradients_BLA = torch.zeros_like(one_hot(codes_BL), dtype=weight_BX.dtype)
        for part, weight_BO in zip(
            self.parts, torch.split(weight_BX, self.config.outputs, 1), strict=True
        ):
            if isinstance(part, Convolution):
                gradients_BLA += part.base_gradients(codes_BL, real_BL, weight_BO)
            elif isinstance(part, KmerRegression | PositionRegression):
                gradients_BLA += part.base_gradients(codes_BL, weight_BO)
        return functional.pad(gradients_BLA, (0, max(0, self.config.vocabulary - len(BASES))))

    def _outputs(
        self, inputs: Tensor, mask_BT: Tensor | None
    ) -> "list[tuple[Tensor, Tensor | None]]":
        """Logits and, of convolutions, embeddings of every part."""
        codes_BL, real_BL = codes_of_ids(inputs, mask_BT)
        return [part_outputs(part, codes_BL, real_BL) for part in self.parts]


def codes_of_ids(ids_BL: Tensor, mask_BL: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Codes of letters, and where they are real, of ids of single letters: every id but a base's is unknown."""
    codes_BL = ids_BL.clamp(max=UNKNOWN_CODE)
    real_BL = torch.ones_like(ids_BL, dtype=torch.bool) if mask_BL is None else mask_BL
    return codes_BL.masked_fill(~real_BL, UNKNOWN_CODE), real_BL


def part_outputs(
    part: nn.Module, codes_BL: Tensor, real_BL: Tensor
) -> tuple[Tensor, Tensor | None]:
    """The logits (B, O) of a part and, if it is a convolution, its embedding (B, E)."""
    if isinstance(part, Convolution):
        logits_BO, embedding_BE = part(codes_BL, real_BL)
        return logits_BO, embedding_BE
    return part(codes_BL), None
