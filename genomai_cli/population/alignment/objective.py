"""Contrastive training of DNA and phenotypes: a sample and its record should lie closer together than different ones.

Symmetric InfoNCE, as in CLIP (Radford et al. 2021, arXiv:2103.00020): each sample has to find its record among those of
the batch, and each record its sample. Records show some of their columns only, drawn at random, so that any subset of
them will do later. A record that is as true of another sample as of its own ("superpop=EUR", the same population) is
no negative of that sample. Samples may be made by crossing members of a group: they have its allele frequencies, and
none of the chance associations of phenotypes with single sites. Sites are masked in many.

Shape suffixes: B samples of this process, G of all processes, S sites, C categories, M numbers, K columns, E size.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from genomai_cli.alphabet import MISSING, Letters
from genomai_cli.augmentations import mask_letters
from genomai_cli.objectives.base import Alphabet, Model, ProcessGroup, Views
from genomai_cli.population.barcode import join
from genomai_cli.population.networks.phenotype_embedding import (
    PhenotypeRecords,
    from_ticks,
    ticks,
    views_of,
)
from genomai_cli.population.phenotype_encoding import EncodedPhenotypes
from genomai_cli.tokenizers.batch import encode_rows

LIMITS = {
    "cross": (0, 1),
    "hide": (0, 1),
    "hide_often": (0, 1),
    "sites": (0.01, 1),
    "whole": (0, 1),
    "jitter": (0, 20_000),
    "smear": (0, 1),
}
EARTH_RADIUS = 6371.0  # km, the mean radius
MIN_LOCATION_COSINE = math.cos(50 / EARTH_RADIUS)
MAX_NUMBER_DIFFERENCE = 0.1  # standard deviations


@dataclass(frozen=True)
class CrossmodalSettings:
    """How samples and records are augmented in training.

    `categories` and `numbers` declare columns of the phenotypes; the others are what they look like. `groups` names the
    category whose members are crossed, the share `cross` of them; its labels are the records that the model ranks by
    default. `hide` is the largest share of sites masked, in the share `hide_often` of the samples; in each
    step, a random share of the sites is read, at least `sites` of them. `whole` is the share of records with all of
    their columns, `jitter` how far (km) their locations are moved, in the share `smear` of them ten times as far.
    """

    categories: list[str] = field(default_factory=list)
    numbers: list[str] = field(default_factory=list)
    groups: str = ""
    cross: float = 0.0
    hide: float = 0.9
    hide_often: float = 0.5
    sites: float = 0.2
    whole: float = 0.25
    jitter: float = 200.0
    smear: float = 0.3


@dataclass(frozen=True, eq=False)  # a list among its settings has no hash
class Crossmodal:
    """InfoNCE between samples and their records; it needs a crossmodal network, and rows of samples with phenotypes."""

    settings_class: ClassVar[type] = CrossmodalSettings
    limits: ClassVar[Mapping[str, tuple[float, float]]] = LIMITS
    input_kind: ClassVar[str | None] = "described"

    settings: CrossmodalSettings
    alphabet: Alphabet
    name: str = "crossmodal"

    @classmethod
    def check(cls, settings: Any, alphabet: Alphabet, recipe: Any) -> None:
        """Any network will do."""
        del settings, alphabet, recipe

    def auxiliary(self) -> dict[str, Any]:
        """None: the network itself has both towers."""
        return {"kind": "none"}

    def views(self, letters_BL: Letters, rng: np.random.Generator) -> Views:
        """`ids` of the samples; their `categories`, `numbers` and `places`, which of them are `shown`, and the
        `shown_places`."""
        layout = self._layout
        records = layout.rows.encoded(letters_BL)
        letters_BS = self._crossed(layout.rows.letters(letters_BL), records, rng)
        shares_B = rng.random(len(letters_BS)) * self.settings.hide
        shares_B *= rng.random(len(letters_BS)) < self.settings.hide_often
        jittered_B3 = np.where(
            np.isnan(records.locations), records.locations, self._jittered(records.locations, rng)
        )
        return {
            "ids": encode_rows(self.alphabet.tokenizer, mask_letters(letters_BS, shares_B, rng)),
            **views_of(records),
            "shown": sample_columns(records.known, self.settings.whole, rng).astype(np.int64),
            "shown_places": ticks(jittered_B3),
        }

    def loss(self, model: Model, views: Mapping[str, Tensor], group: ProcessGroup) -> Tensor:
        """The mean over this process's samples and both directions, in nats."""
        network, phenotypes = model.network, PhenotypeViews.of(views)
        copies_BS = model.inputs(views["ids"])
        sites = self._sample_sites(copies_BS, training=network.training)
        read_copies_BS = copies_BS if sites is None else copies_BS[:, sites]
        groups_B = self._group_labels(phenotypes) if network.training else None
        samples_BE = network.sample_vectors(read_copies_BS, sites, groups_B).float()  # type: ignore[operator]
        records_BE = network.record_vectors(phenotypes.records(), sites).float()  # type: ignore[operator]
        gathered = phenotypes.gathered(group)
        partners_B = torch.arange(len(samples_BE), device=samples_BE.device)
        partners_B = partners_B + group.rank * len(samples_BE)
        with torch.autocast(samples_BE.device.type, enabled=False):
            scale = network.scale.float()
            by_sample_BG = scale * samples_BE @ group.gather(records_BE).T
            by_record_BG = scale * records_BE @ group.gather(samples_BE).T
        losses = [
            partner_loss(by_sample_BG, compatible(gathered, phenotypes).T, partners_B),
            partner_loss(by_record_BG, compatible(phenotypes, gathered), partners_B),
        ]
        return torch.stack(losses).mean()

    def bits_per_base(self, nats: float) -> None:
        """None: the loss is no likelihood of bases."""

    def _sample_sites(self, copies_BS: Tensor, *, training: bool) -> Tensor | None:
        """The sites that are read in this step: a random share of at least `sites` of them, all in validation."""
        if not training or self.settings.sites == 1:
            return None
        device, count = copies_BS.device, copies_BS.shape[1]
        share = self.settings.sites + (1 - self.settings.sites) * float(torch.rand(()))
        return torch.randperm(count)[: max(1, round(share * count))].to(device)

    def _group_labels(self, phenotypes: "PhenotypeViews") -> Tensor | None:
        """The groups (B,) of the samples."""
        groups = self._layout.groups
        return None if groups is None else phenotypes.categories[:, groups.column]

    def _crossed(
        self, letters_BS: Letters, records: EncodedPhenotypes, rng: np.random.Generator
    ) -> Letters:
        """The samples' letters; instead of some training samples, those of a new member of their group."""
        groups = self._layout.groups
        if groups is None or not self.settings.cross:
            return letters_BS
        group_B = groups.groups(records)
        chosen_B = rng.random(len(letters_BS)) < self.settings.cross
        chosen_B &= (group_B != MISSING) & groups.contain(letters_BS)
        pair_2BS = [groups.pool.cross(np.maximum(group_B, 0), rng) for _ in range(2)]
        return np.where(chosen_B[:, None], join(*pair_2BS), letters_BS)

    def _jittered(
        self, locations: NDArray[np.float32], rng: np.random.Generator
    ) -> NDArray[np.float64]:
        """The locations (B, 3) moved at random in the tangent plane, by half-normal distances."""
        if not locations.shape[1]:
            return locations.astype(np.float64)
        deviation_B = np.full(len(locations), self.settings.jitter)
        deviation_B[rng.random(len(locations)) < self.settings.smear] *= 10
        jittered_B3 = (
            locations + rng.normal(size=locations.shape) * deviation_B[:, None] / EARTH_RADIUS
        )
        unit_B3: NDArray[np.float64] = jittered_B3 / np.linalg.norm(
            jittered_B3, axis=1, keepdims=True
        )
        return unit_B3

    @property
    def _layout(self) -> Any:
        if self.alphabet.phenotype_layout is None:
            raise TypeError("the objective crossmodal needs rows of samples with phenotypes")
        return self.alphabet.phenotype_layout


@dataclass(frozen=True, eq=False)
class PhenotypeViews:
    """The phenotypes of samples, and which of them their records show: categories (B, C), numbers (B, M) and locations
    (B, 3 or 0), NaN where unknown, `shown` (B, K)."""

    categories: Tensor
    numbers: Tensor
    locations: Tensor
    shown: Tensor
    shown_locations: Tensor

    @classmethod
    def of(cls, views: Mapping[str, Tensor]) -> "PhenotypeViews":
        """From a batch of `Crossmodal.views`."""
        numbers, locations, jittered = (
            from_ticks(views[name]) for name in ("numbers", "places", "shown_places")
        )
        return cls(views["categories"], numbers, locations, views["shown"] > 0, jittered)

    def records(self) -> PhenotypeRecords:
        """The records with the columns that are shown."""
        sizes = [self.categories.shape[1], self.numbers.shape[1]]
        of_categories, of_numbers, of_location = self.shown.tensor_split(
            [sizes[0], sum(sizes)], dim=1
        )
        return PhenotypeRecords(
            self.categories.masked_fill(~of_categories, MISSING),
            self.numbers.masked_fill(~of_numbers, math.nan),
            self.shown_locations.masked_fill(~of_location, math.nan),
        )

    def gathered(self, group: ProcessGroup) -> "PhenotypeViews":
        """The phenotypes of all processes."""
        return PhenotypeViews(*(group.gather(part) for part in vars(self).values()))


def compatible(records: PhenotypeViews, samples: PhenotypeViews) -> Tensor:
    """Which records (R, B) are compatible with which samples: each value shown is the sample's, or unknown of it."""
    agreeing = [
        (record_R[:, None] == sample_B) | (sample_B == MISSING)
        for record_R, sample_B in zip(records.categories.T, samples.categories.T, strict=True)
    ]
    for record_R, sample_B in zip(records.numbers.T, samples.numbers.T, strict=True):
        agreeing.append(
            ~((record_R[:, None] - sample_B).abs() >= MAX_NUMBER_DIFFERENCE)
        )  # so is NaN
    if records.locations.shape[1]:
        agreeing.append(~(records.locations @ samples.locations.T < MIN_LOCATION_COSINE))
    masked = ~records.shown.T[..., None]
    return torch.stack(
        [masked_R1 | agreeing_RB for masked_R1, agreeing_RB in zip(masked, agreeing, strict=True)]
    ).all(0)


def partner_loss(logits_BG: Tensor, compatible_BG: Tensor, partners_B: Tensor) -> Tensor:
    """The mean cross-entropy of each one's partner, among all that are not compatible with it."""
    partner_BG = functional.one_hot(partners_B, logits_BG.shape[1]).bool()
    return functional.cross_entropy(
        logits_BG.masked_fill(compatible_BG & ~partner_BG, -math.inf), partners_B
    )


def chance_loss(views: Mapping[str, Tensor]) -> float:
    """The loss at chance, of a network whose vectors are all the same."""
    phenotypes = PhenotypeViews.of(views)
    compatible_RB = compatible(phenotypes, phenotypes)
    partners_B = torch.arange(len(compatible_RB))
    zero_logits_BB = torch.zeros(compatible_RB.shape)
    return float(
        torch.stack(
            [partner_loss(zero_logits_BB, a, partners_B) for a in (compatible_RB.T, compatible_RB)]
        ).mean()
    )


def sample_columns(
    known_NK: NDArray[np.bool_], full: float, rng: np.random.Generator
) -> NDArray[np.bool_]:
    """Of the columns that are known of each, some: any number of them, at least one, is as likely; for the share
    `full` all."""
    order_NK = np.where(known_NK, rng.random(known_NK.shape), 2.0).argsort(axis=1).argsort(axis=1)
    count_N = known_NK.sum(axis=1)
    count_shown_N = 1 + (rng.random(len(known_NK)) * count_N).astype(np.int64)
    count_shown_N = np.where(rng.random(len(known_NK)) < full, count_N, count_shown_N)
    shown: NDArray[np.bool_] = known_NK & (order_NK < count_shown_N[:, None])
    return shown
