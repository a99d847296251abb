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
from genomai_cli.augmentations import hide
from genomai_cli.objectives.base import Alphabet, Model, ProcessGroup, Views
from genomai_cli.population.barcode import join
from genomai_cli.population.networks.phenotype_embedding import (
    Records,
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
EARTH = 6371.0  # km, the mean radius
SAME_LOCATION = math.cos(50 / EARTH)
SAME_NUMBER = 0.1  # standard deviations


@dataclass(frozen=True)
class CrossmodalSettings:
    """How samples and records are shown to the network.

    `categories` and `numbers` declare columns of the phenotypes; the others are what they look like. `groups` names the
    category whose members are crossed, the share `cross` of them; its labels are the records that the model is asked
    about by default. `hide` is the largest share of sites masked, in the share `hide_often` of the samples; in each
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
        """None: the network itself knows both sides."""
        return {"kind": "none"}

    def views(self, letters_BL: Letters, rng: np.random.Generator) -> Views:
        """`ids` of the samples; their `categories`, `numbers` and `places`, which of them are `shown`, and the
        `shown_places`."""
        layout = self._layout
        truth = layout.rows.encoded(letters_BL)
        letters_BS = self._crossed(layout.rows.letters(letters_BL), truth, rng)
        shares_B = rng.random(len(letters_BS)) * self.settings.hide
        shares_B *= rng.random(len(letters_BS)) < self.settings.hide_often
        moved = np.where(
            np.isnan(truth.locations), truth.locations, self._moved(truth.locations, rng)
        )
        return {
            "ids": encode_rows(self.alphabet.tokenizer, hide(letters_BS, shares_B, rng)),
            **views_of(truth),
            "shown": some_columns(truth.known, self.settings.whole, rng).astype(np.int64),
            "shown_places": ticks(moved),
        }

    def loss(self, model: Model, views: Mapping[str, Tensor], group: ProcessGroup) -> Tensor:
        """The mean over this process's samples and both directions, in nats."""
        network, facts = model.network, Facts.of(views)
        copies_BS = model.inputs(views["ids"])
        sites = self._some_sites(copies_BS, training=network.training)
        seen_BS = copies_BS if sites is None else copies_BS[:, sites]
        members_B = self._members(facts) if network.training else None
        samples_BE = network.sample_vectors(seen_BS, sites, members_B).float()  # type: ignore[operator]
        records_BE = network.record_vectors(facts.records(), sites).float()  # type: ignore[operator]
        gathered = facts.gathered(group)
        partners_B = torch.arange(len(samples_BE), device=samples_BE.device)
        partners_B = partners_B + group.rank * len(samples_BE)
        with torch.autocast(samples_BE.device.type, enabled=False):
            scale = network.scale.float()
            forth_BG = scale * samples_BE @ group.gather(records_BE).T
            back_BG = scale * records_BE @ group.gather(samples_BE).T
        losses = [
            among(forth_BG, agrees(gathered, facts).T, partners_B),
            among(back_BG, agrees(facts, gathered), partners_B),
        ]
        return torch.stack(losses).mean()

    def bits_per_base(self, nats: float) -> None:
        """None: the loss is no likelihood of bases."""

    def _some_sites(self, copies_BS: Tensor, *, training: bool) -> Tensor | None:
        """The sites that are read in this step: a random share of at least `sites` of them, all in validation."""
        if not training or self.settings.sites == 1:
            return None
        device, count = copies_BS.device, copies_BS.shape[1]
        share = self.settings.sites + (1 - self.settings.sites) * float(torch.rand(()))
        return torch.randperm(count)[: max(1, round(share * count))].to(device)

    def _members(self, facts: "Facts") -> Tensor | None:
        """The groups (B,) of the samples."""
        groups = self._layout.groups
        return None if groups is None else facts.categories[:, groups.column]

    def _crossed(
        self, letters_BS: Letters, truth: EncodedPhenotypes, rng: np.random.Generator
    ) -> Letters:
        """The samples' letters; instead of some training samples, those of a new member of their group."""
        groups = self._layout.groups
        if groups is None or not self.settings.cross:
            return letters_BS
        group_B = groups.groups(truth)
        chosen_B = rng.random(len(letters_BS)) < self.settings.cross
        chosen_B &= (group_B != MISSING) & groups.contain(letters_BS)
        pair_2BS = [groups.pool.cross(np.maximum(group_B, 0), rng) for _ in range(2)]
        return np.where(chosen_B[:, None], join(*pair_2BS), letters_BS)

    def _moved(
        self, locations: NDArray[np.float32], rng: np.random.Generator
    ) -> NDArray[np.float64]:
        """The locations (B, 3) moved at random in the tangent plane, by half-normal distances."""
        if not locations.shape[1]:
            return locations.astype(np.float64)
        reach_B = np.full(len(locations), self.settings.jitter)
        reach_B[rng.random(len(locations)) < self.settings.smear] *= 10
        moved = locations + rng.normal(size=locations.shape) * reach_B[:, None] / EARTH
        found: NDArray[np.float64] = moved / np.linalg.norm(moved, axis=1, keepdims=True)
        return found

    @property
    def _layout(self) -> Any:
        if self.alphabet.phenotype_layout is None:
            raise TypeError("the objective crossmodal needs rows of samples with phenotypes")
        return self.alphabet.phenotype_layout


@dataclass(frozen=True, eq=False)
class Facts:
    """What is known of samples, and which of it their records show: categories (B, C), numbers (B, M) and locations
    (B, 3 or 0), NaN where unknown, `shown` (B, K)."""

    categories: Tensor
    numbers: Tensor
    locations: Tensor
    shown: Tensor
    shown_locations: Tensor

    @classmethod
    def of(cls, views: Mapping[str, Tensor]) -> "Facts":
        """Those of views."""
        numbers, locations, moved = (
            from_ticks(views[name]) for name in ("numbers", "places", "shown_places")
        )
        return cls(views["categories"], numbers, locations, views["shown"] > 0, moved)

    def records(self) -> Records:
        """What the records show."""
        sizes = [self.categories.shape[1], self.numbers.shape[1]]
        of_categories, of_numbers, of_location = self.shown.tensor_split(
            [sizes[0], sum(sizes)], dim=1
        )
        return Records(
            self.categories.masked_fill(~of_categories, MISSING),
            self.numbers.masked_fill(~of_numbers, math.nan),
            self.shown_locations.masked_fill(~of_location, math.nan),
        )

    def gathered(self, group: ProcessGroup) -> "Facts":
        """Those of all processes."""
        return Facts(*(group.gather(part) for part in vars(self).values()))


def agrees(records: Facts, samples: Facts) -> Tensor:
    """Which records (R, B) could be of which samples: all that they show is so, or unknown, of the sample."""
    same = [
        (mine_R[:, None] == theirs_B) | (theirs_B == MISSING)
        for mine_R, theirs_B in zip(records.categories.T, samples.categories.T, strict=True)
    ]
    for mine_R, theirs_B in zip(records.numbers.T, samples.numbers.T, strict=True):
        same.append(~((mine_R[:, None] - theirs_B).abs() >= SAME_NUMBER))  # so is NaN
    if records.locations.shape[1]:
        same.append(~(records.locations @ samples.locations.T < SAME_LOCATION))
    masked = ~records.shown.T[..., None]
    return torch.stack(
        [masked_R1 | same_RB for masked_R1, same_RB in zip(masked, same, strict=True)]
    ).all(0)


def among(logits_BG: Tensor, agree_BG: Tensor, partners_B: Tensor) -> Tensor:
    """The mean surprise at each one's partner, among all that do not agree with it."""
    partner_BG = functional.one_hot(partners_B, logits_BG.shape[1]).bool()
    return functional.cross_entropy(
        logits_BG.masked_fill(agree_BG & ~partner_BG, -math.inf), partners_B
    )


def chance_loss(views: Mapping[str, Tensor]) -> float:
    """The loss of a network that knows nothing, for which all vectors are the same."""
    facts = Facts.of(views)
    agree_RB = agrees(facts, facts)
    partners_B = torch.arange(len(agree_RB))
    blind = torch.zeros(agree_RB.shape)
    return float(torch.stack([among(blind, a, partners_B) for a in (agree_RB.T, agree_RB)]).mean())


def some_columns(
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
