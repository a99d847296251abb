"""What every network offers, whatever its family: `Network` and, for those that read tokens, `Backbone`.

A network is a frozen dataclass of sizes (`config_class`) and a module made of it. It gives one vector a sample, at any
depth; a backbone has one a token as well. Classification heads are attached to it (`backbones.heads`); it does not know
them. A new family is one file here, and a line in `registry.NETWORKS`.

Shape suffixes: B samples, T tokens, D hidden size, N chosen tokens, V tokens of the vocabulary.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from genomai_cli import registry
from genomai_cli.errors import BundleError
from genomai_cli.formats.track_table import Track


class Network(nn.Module):
    """A network with one vector a sample; `hidden_size` D is the size of its vectors, layer 0 lies after the
    embeddings, layer `num_layers` beneath the heads."""

    config_class: ClassVar[type]
    has_vectors: ClassVar[bool] = True  # those that only restore tokens have none
    has_token_vectors: ClassVar[bool] = False
    has_token_gradients: ClassVar[bool] = False  # see `token_gradients`
    reads_allele_counts: ClassVar[bool] = False  # instead of ids
    reads_likelihoods: ClassVar[bool] = False  # of genotypes, instead of those counts
    supports_soft_mask: ClassVar[bool] = False  # see `SoftMask`
    supports_condition: ClassVar[bool] = False  # a label (B,) that the samples are of
    fits_in_closed_form: ClassVar[bool] = (
        False  # instead of by steps of gradient descent, see `solve`
    )
    stores_samples: ClassVar[bool] = False  # filled by a module of its own; never trained
    selects_parts: ClassVar[bool] = False  # on held-out samples
    restores_tracks: ClassVar[bool] = False  # from DNA and tracks, see `omicsfusion`
    predicts_tracks: ClassVar[bool] = (
        False  # from DNA, on the scale of an experiment, see `alphagenome`
    )
    length_multiple: ClassVar[int] = 1  # of tokens in an input
    attachable: ClassVar[bool] = False  # to the network of another model, see `training.attach`
    head_dropout: float = 0.0  # of the vectors that the heads are trained on
    hidden_size: int
    num_layers: int
    max_length: int | None = None  # tokens that can be read at once; None where unbounded

    @classmethod
    def track_sizes(cls, tracks: Sequence[Track], tokens: Mapping[str, int]) -> dict[str, Any]:
        """The sizes that follow from the tracks and from the vocabulary; ValueError for tracks that it has no head
        for."""
        raise NotImplementedError

    def set_track_means(
        self, tracks: Sequence[Track], means: Sequence[float], nonzero_fractions: Sequence[float]
    ) -> None:
        """Set the means of tracks over the bases above 0, if it `predicts_tracks`, and the fractions of bases that are
        above 0."""
        raise NotImplementedError

    def pooled(
        self, inputs: Tensor, mask_BT: Tensor | None = None, layer: int | None = None
    ) -> Tensor:
        """The vectors (B, D) after `layer` layers, by default those beneath the heads."""
        raise NotImplementedError

    def head_vectors(self, inputs: Tensor, mask_BT: Tensor | None = None) -> Tensor:
        """The vectors (B, D) that classification heads read: as it pools, unless released heads read others."""
        return self.pooled(inputs, mask_BT)

    def token_gradients(
        self, ids_BT: Tensor, mask_BT: Tensor | None, value: Callable[[Tensor], Tensor]
    ) -> Tensor:
        """How fast `value`, a sum over samples of a function of their head vectors (B, D), rises with the indicator of
        each token of the vocabulary at each position: (B, T, V or more)."""
        raise NotImplementedError

    def solve(self, inputs: Tensor, labels: Mapping[str, Tensor]) -> None:
        """Set all parameters from samples and their labels (N,) by head, if it `fits_in_closed_form`."""
        raise NotImplementedError

    def classification_head(self, classes: int) -> nn.Module:
        """A fresh head from vectors (B, D) to logits (B, classes)."""
        return nn.Linear(self.hidden_size, classes)

    def lm_head(self, vocabulary: int) -> nn.Module:
        """A fresh head for masked tokens, which `predict_masked` takes."""
        raise NotImplementedError

    def predict_masked(
        self,
        head: nn.Module,
        inputs: Tensor,
        chosen_BT: Tensor | None = None,
        mask_BT: Tensor | None = None,
        **more: Any,
    ) -> Tensor:
        """The head's logits (B, T, V) of every token, or (N, V) of the chosen ones, row by row."""
        raise NotImplementedError


class Backbone(Network):
    """Token ids and a mask to hidden states.

    `forward(ids_BT, mask_BT=None, layer=None, features=None)` gives (B, T, D); the mask is True where a token is real,
    None where all are; `features` are further inputs of each token by name (B, T, ...), for families that read them.
    """

    features_read: ClassVar[frozenset[str]] = (
        frozenset()
    )  # without any, `forward` need not take `features`

    half_precision_stages: ClassVar[frozenset[str]] = (
        frozenset()
    )  # stages that the released code rounds to half
    has_token_vectors = True
    has_token_gradients = True
    has_pooler: bool = False  # a trained vector of the sequence, see `pooler_output`
    causal: bool = False  # a token's hidden state sees no later token, and predicts the next one

    @property
    def token_embedding(self) -> nn.Embedding:
        """The table of the tokens' vectors."""
        raise NotImplementedError

    def token_gradients(
        self, ids_BT: Tensor, mask_BT: Tensor | None, value: Callable[[Tensor], Tensor]
    ) -> Tensor:
        """See `Network`: the gradient at the tokens' vectors, times the vectors of all tokens."""
        table = self.token_embedding
        gradient_BTD = gradient_at(table, lambda: value(self.head_vectors(ids_BT, mask_BT)))
        return self._on_input_strand(gradient_BTD @ table.weight.T)

    def _on_input_strand(self, gradient_BTV: Tensor) -> Tensor:
        """The gradients by tokens of the input, for families that also read its reverse complement."""
        return gradient_BTV

    def pooler_output(self, hidden_BTD: Tensor) -> Tensor:
        """The vector (B, D) of a trained pooler, from the last hidden states."""
        raise NotImplementedError

    def lm_logits(self, head: nn.Module, hidden: Tensor) -> Tensor:
        """The logits (..., V) of a language-model head, from hidden states (..., D)."""
        logits: Tensor = head(hidden)
        return logits

    def decode(self, ids_BT: Tensor, cache: Any = None) -> tuple[Tensor, Any]:
        """The hidden states (B, T, D) of tokens that follow those in the cache, and a cache that holds these too.

        For causal backbones. This one keeps the ids and reads all of them again; families with a state of fixed
        size or with keys and values do better.
        """
        all_ids_BT = ids_BT if cache is None else torch.cat([cache, ids_BT], dim=1)
        return self(all_ids_BT)[:, -ids_BT.shape[1] :], all_ids_BT

    def long_filters(self, tokens: int) -> Tensor | None:
        """The filters of the convolutions that are as long as an input of so many tokens, a layer a row, in the order
        of the released code's axes; None for a family without any."""
        del tokens
        return None

    def stages(self, ids_BT: Tensor, features: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Hidden states and outputs of all kinds by the names in the released code, at any depth and resolution; none
        for a family of which no others are compared than those that every backbone has."""
        del ids_BT, features
        return {}

    @contextmanager
    def as_released(self, exact: bool) -> Iterator[None]:
        """With `exact`, compute as the family's released code does, its faults included, where this differs."""
        del exact
        yield

    def pooled(
        self, inputs: Tensor, mask_BT: Tensor | None = None, layer: int | None = None
    ) -> Tensor:
        """The mean of the hidden states over the real tokens: (B, D)."""
        return self.mean_pooled(self(inputs, mask_BT, layer=layer), mask_BT)

    def mean_pooled(self, hidden_BTD: Tensor, mask_BT: Tensor | None) -> Tensor:
        """The mean (B, D) of hidden states over the real tokens."""
        if mask_BT is None:
            mask_BT = torch.ones(hidden_BTD.shape[:2], dtype=torch.bool, device=hidden_BTD.device)
        real_BT1 = mask_BT.unsqueeze(2)
        total_BD = (hidden_BTD * real_BT1).sum(1)
        mean_BD: Tensor = total_BD / real_BT1.sum(1).clamp(min=1)
        return mean_BD

    def predict_masked(
        self,
        head: nn.Module,
        inputs: Tensor,
        chosen_BT: Tensor | None = None,
        mask_BT: Tensor | None = None,
        **more: Any,
    ) -> Tensor:
        """See `Network`; `more` goes to `forward`."""
        hidden_BTD = self(inputs, mask_BT, **more)
        return self.lm_logits(head, hidden_BTD if chosen_BT is None else hidden_BTD[chosen_BT])


class SmallEmbedding(nn.Embedding):
    """Vectors of tokens that begin small, so that logits of a head that decodes with them begin near even; 0.02 is
    GPT-2's (Radford et al. 2019)."""

    def __init__(self, tokens: int, width: int, std: float = 0.02) -> None:
        self.std = std
        super().__init__(tokens, width)

    def reset_parameters(self) -> None:
        """Fresh values."""
        nn.init.normal_(self.weight, std=self.std)


def network_class(kind: object) -> type[Network]:
    """The class of networks of this kind; BundleError if there is none."""
    try:
        found: type[Network] = registry.find(registry.NETWORKS, kind)
    except KeyError as error:
        raise BundleError(f"network {kind!r}: {error.args[0]}") from error
    return found


def build_network(config: Mapping[str, Any]) -> Network:
    """One untrained network of the kind and sizes that `config` gives, without heads.

    Raises BundleError for an unknown kind or size.
    """
    kind = network_class(config.get("kind"))
    return kind(_sizes(kind, config))


def complete_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """The config with every size spelled out, defaults included; BundleError for an unknown one."""
    sizes = _sizes(network_class(config.get("kind")), config)
    return {"kind": config["kind"], **asdict(sizes)}


def _sizes(kind: type[Network], config: Mapping[str, Any]) -> Any:
    sizes = {name: value for name, value in config.items() if name != "kind"}
    try:
        return kind.config_class(**sizes)
    except (TypeError, ValueError) as error:
        raise BundleError(f"network {config.get('kind')!r}: {error}") from error


def max_length(config: Mapping[str, Any]) -> int | None:
    """How many tokens a network of this config can read at once; None where unbounded. It is built without memory."""
    with torch.device("meta"):
        return build_network(config).max_length


def is_causal(config: Mapping[str, Any]) -> bool:
    """Whether no token of a network of this config sees a later one. It is built without memory."""
    with torch.device("meta"):
        network = build_network(config)
    return isinstance(network, Backbone) and network.causal


def gradient_at(module: nn.Module, value: Callable[[], Tensor]) -> Tensor:
    """The gradient of a value with respect to the output of a module."""
    leaves: list[Tensor] = []

    def as_leaf(module: nn.Module, inputs: Any, output: Tensor) -> Tensor:
        del module, inputs
        leaves.append(output.detach().requires_grad_())
        return leaves[-1]

    hook = module.register_forward_hook(as_leaf)
    try:
        with torch.enable_grad():
            (gradient,) = torch.autograd.grad(value(), leaves)
    finally:
        hook.remove()
    return gradient
