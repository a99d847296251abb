"""DNA and phenotypes in one space: two towers that attend to each other's embeddings, and end in unit vectors.

A token of DNA is a site with one of its three genotypes. In every layer it attends to the vocabulary of phenotypes
(labels, and anchors of numbers and locations), by multi-head attention (Vaswani et al. 2017, arXiv:1706.03762). A token
depends on nothing else of the sample: all of them are one table, and a sample is the sum of its tokens, each less what
is expected at its site, over the root of their number; a missing site adds nothing. That sum attends to the vocabulary
once more. A phenotype record is a query that attends to the tokens of its own columns, and then to the sites of the
panel. Neither tower sees an item of the other side, so that each is computed once, however many pairs there are;
cosines of their vectors are similarities, as in CLIP (Radford et al. 2021, arXiv:2103.00020).

Where the allele frequencies of groups are given, tokens and samples attend to the groups' labels by how likely they
make the genotypes, in addition to what is trained (`towers.GroupEvidence`).

Shape suffixes: B samples, S sites, G genotypes (0, 1, 2 copies of the alternate allele), R records, K columns of
phenotypes, V tokens of their vocabulary, D width, H attention heads, E size of the common space.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from genomai_cli.backbones.base import Network
from genomai_cli.bundles.bundle import Bundle
from genomai_cli.errors import BundleError
from genomai_cli.population.networks.phenotype_embedding import PhenotypeRecords, Vocabulary
from genomai_cli.population.networks.towers import (
    GENOTYPES,
    CrossmodalConfig,
    DnaTower,
    PhenotypeTower,
)
from genomai_cli.population.phenotypes import Columns

INITIAL_TEMPERATURE, MIN_TEMPERATURE = 0.07, 0.01  # as in CLIP


class CrossmodalNetwork(Network):
    """Allele copies (B, S), -1 where missing, and phenotype records to unit vectors (B, E) and (R, E)."""

    config_class = CrossmodalConfig
    reads_allele_counts = True
    attachable = True

    def __init__(self, config: CrossmodalConfig) -> None:
        super().__init__()
        self.config = config
        self.columns = Columns.from_config(config.columns)
        self.hidden_size, self.num_layers = config.size, config.layers
        self.vocabulary = Vocabulary(self.columns, config.width)
        self.dna = DnaTower(config, self.columns)
        self.phenotypes = PhenotypeTower(config)
        self.log_scale = nn.Parameter(torch.empty(()))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """CLIP's first temperature; the layers draw their own values."""
        nn.init.constant_(self.log_scale, -math.log(INITIAL_TEMPERATURE))

    @property
    def scale(self) -> Tensor:
        """The factor of cosines: one over the temperature."""
        return self.log_scale.clamp(max=-math.log(MIN_TEMPERATURE)).exp()

    @property
    def frequency(self) -> Tensor:
        """The alternate alleles' frequencies (S,), for the expected token of a site."""
        return self.dna.frequency

    def sample_vectors(
        self, copies_BS: Tensor, sites: Tensor | None = None, members: Tensor | None = None
    ) -> Tensor:
        """The unit vectors (B, E) of samples with these copies at all sites, or at those with the indices `sites`.

        `members` (B,) are the groups, -1 for none, whose frequencies include these samples: in training, their own
        alleles are excluded.
        """
        return self.genotype_vectors(
            genotypes_of(copies_BS).to(self.log_scale.dtype), sites, members
        )

    def genotype_vectors(
        self,
        genotypes_BSG: Tensor,
        sites: Tensor | None = None,
        members: Tensor | None = None,
    ) -> Tensor:
        """The unit vectors of weights of genotypes, differentiable: (1, 0, 0) is 0 copies, (0, 0, 0) a missing site."""
        vectors_BE = self.dna(genotypes_BSG, self.vocabulary.embeddings, sites, members)
        return functional.normalize(vectors_BE, dim=1)

    def record_vectors(self, records: PhenotypeRecords, sites: Tensor | None = None) -> Tensor:
        """The unit vectors (R, E) of records that attend to all sites, or to those with the indices `sites`."""
        tokens_RKD, known_RK = self.vocabulary(records)
        vectors_RE, _ = self.phenotypes(tokens_RKD, known_RK, self.dna.sites(sites))
        return functional.normalize(vectors_RE, dim=1)

    def site_attention(self) -> list[Tensor]:
        """The attention of DNA tokens to the vocabulary: (S, G, H, V) for each layer."""
        _, attention = self.dna.tokens(self.vocabulary.embeddings)
        return [weights.permute(1, 2, 0, 3) for weights in attention]

    def record_attention(self, records: PhenotypeRecords) -> list[Tensor]:
        """The attention of phenotype records to the sites: (R, H, S) for each layer."""
        tokens_RKD, known_RK = self.vocabulary(records)
        outputs: tuple[Tensor, list[Tensor]] = self.phenotypes(
            tokens_RKD, known_RK, self.dna.sites()
        )
        return outputs[1]

    def pooled(
        self, inputs: Tensor, mask_BT: Tensor | None = None, layer: int | None = None
    ) -> Tensor:
        """The vectors of samples, for `embed` and heads: by default the unit vectors (B, E)."""
        del (
            mask_BT,
            layer,
        )  # between the tokens and the common space there is nothing of the width that embeddings have
        return self.sample_vectors(inputs)


def genotypes_of(copies_BS: Tensor) -> Tensor:
    """Copies 0, 1 and 2 as weights (B, S, G) of the genotypes: all 0 for a site that is missing."""
    return torch.stack([copies_BS == copies for copies in range(GENOTYPES)], dim=2)


def crossmodal_of(bundle: Bundle) -> CrossmodalNetwork:
    """The network of DNA and phenotypes: the model's own, or one attached to it; BundleError if there is none."""
    for network in (bundle.classifier.networks[0], *bundle.auxiliary.values()):
        if isinstance(network, CrossmodalNetwork):
            return network
    raise BundleError(
        f"the model {bundle.name!r} knows no phenotypes: "
        "`genomai pretrain --objective crossmodal` makes one that does"
    )
