"""A person's DNA and what is known of her should lie closer together than those of different people.

Symmetric InfoNCE, as in CLIP (Radford et al. 2021, arXiv:2103.00020): each person has to find her record among those of
the batch, and each record its person. Records show some of their columns only, drawn at random, so that any subset of
them will do later. A record that is as true of another person as of its own ("superpop=EUR", the same population) is
no negative of that person. People may be made by crossing members of a group: they have its allele frequencies, and
none of the chance associations of phenotypes with single sites. Sites are hidden from many.

Shape suffixes: B people of this process, G of all processes, S sites, C categories, M numbers, K columns, E size.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from genomai_cli.augmentations import Letters, hide
from genomai_cli.objectives.base import Alphabet, Group, Model, Views
from genomai_cli.population.barcode import join
from genomai_cli.population.networks.phenotype_embedding import Records
from genomai_cli.population.phenotype_encoding import UNKNOWN, Encoded
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
SAME_PLACE = math.cos(50 / EARTH)
SAME_NUMBER = 0.1  # standard deviations
TICKS, NOTHING = (
    1 << 24,
    1 << 40,
)  # numbers as whole ones, as views are, and what stands for an unknown one


@dataclass(frozen=True)
class CrossmodalSettings:
    """What people and records are shown as.

    `categories` and `numbers` declare columns of the phenotypes; the others are what they look like. `groups` names the
    category whose members are crossed, the share `cross` of them; its labels are the records that the model is asked
    about by default. `hide` is the largest share of sites hidden, in the share `hide_often` of the people; in each
    step, a random share of the sites is read, at least `sites` of them. `whole` is
    the share of records with all of their columns, `jitter` how far (km) their places are moved, in the share `smear`
    of them ten times as far.
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
    """InfoNCE between people and their records; it needs a crossmodal network and rows of described people."""

    settings: CrossmodalSettings
    alphabet: Alphabet
    name: str = "crossmodal"

    def companion(self) -> dict[str, Any]:
        """None: the network itself knows both sides."""
        return {"kind": "none"}

    def views(self, letters_BL: Letters, rng: np.random.Generator) -> Views:
        """`ids` of the people; their `categories`, `numbers` and `places`, which of them are `shown`, and the
        `shown_places`."""
        people = self._people
        truth = people.rows.encoded(letters_BL)
        letters_BS = self._crossed(people.rows.letters(letters_BL), truth, rng)
        shares_B = rng.random(len(letters_BS)) * self.settings.hide
        shares_B *= rng.random(len(letters_BS)) < self.settings.hide_often
        moved = np.where(np.isnan(truth.places), truth.places, self._moved(truth.places, rng))
        return {
            "ids": encode_rows(self.alphabet.tokenizer, hide(letters_BS, shares_B, rng)),
            "categories": truth.categories,
            "numbers": _whole_numbers(truth.numbers),
            "places": _whole_numbers(truth.places),
            "shown": some_columns(truth.known, self.settings.whole, rng).astype(np.int64),
            "shown_places": _whole_numbers(moved),
        }

    def loss(self, model: Model, views: Mapping[str, Tensor], group: Group) -> Tensor:
        """The mean over this process's people and both directions, in nats."""
        network, facts = model.network, Facts.of(views)
        copies_BS = model.inputs(views["ids"])
        sites = self._some_sites(copies_BS, learns=network.training)
        seen_BS = copies_BS if sites is None else copies_BS[:, sites]
        members_B = self._members(facts) if network.training else None
        people_BE = network.people(seen_BS, sites, members_B).float()  # type: ignore[operator]
        records_BE = network.records(facts.records(), sites).float()  # type: ignore[operator]
        everybody = facts.gathered(group)
        partners_B = torch.arange(len(people_BE), device=people_BE.device)
        partners_B = partners_B + group.rank * len(people_BE)
        with torch.autocast(people_BE.device.type, enabled=False):
            scale = network.scale.float()
            forth_BG = scale * people_BE @ group.gather(records_BE).T
            back_BG = scale * records_BE @ group.gather(people_BE).T
        losses = [
            among(forth_BG, agrees(everybody, facts).T, partners_B),
            among(back_BG, agrees(facts, everybody), partners_B),
        ]
        return torch.stack(losses).mean()

    def _some_sites(self, copies_BS: Tensor, *, learns: bool) -> Tensor | None:
        """The sites that are read in this step: a random share of at least `sites` of them, all when it is judged."""
        if not learns or self.settings.sites == 1:
            return None
        device, count = copies_BS.device, copies_BS.shape[1]
        share = self.settings.sites + (1 - self.settings.sites) * float(torch.rand(()))
        return torch.randperm(count)[: max(1, round(share * count))].to(device)

    def _members(self, facts: "Facts") -> Tensor | None:
        """The groups (B,) that people are of."""
        families = self._people.families
        return None if families is None else facts.categories[:, families.column]

    def _crossed(self, letters_BS: Letters, truth: Encoded, rng: np.random.Generator) -> Letters:
        """The people's letters; of some of those learnt from, those of a new member of their group."""
        families = self._people.families
        if families is None or not self.settings.cross:
            return letters_BS
        group_B = families.groups(truth)
        chosen_B = rng.random(len(letters_BS)) < self.settings.cross
        chosen_B &= (group_B != UNKNOWN) & families.knows(letters_BS)
        pair_2BS = [families.pool.cross(np.maximum(group_B, 0), rng) for _ in range(2)]
        return np.where(chosen_B[:, None], join(*pair_2BS), letters_BS)

    def _moved(self, places: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float64]:
        """The places (B, 3) moved at random in the tangent plane, by half-normal distances."""
        if not places.shape[1]:
            return places.astype(np.float64)
        reach_B = np.full(len(places), self.settings.jitter)
        reach_B[rng.random(len(places)) < self.settings.smear] *= 10
        moved = places + rng.normal(size=places.shape) * reach_B[:, None] / EARTH
        found: NDArray[np.float64] = moved / np.linalg.norm(moved, axis=1, keepdims=True)
        return found

    @property
    def _people(self) -> Any:
        if self.alphabet.described is None:
            raise TypeError("the objective crossmodal needs rows of described people")
        return self.alphabet.described


@dataclass(frozen=True, eq=False)
class Facts:
    """What is known of people, and which of it their records show: categories (B, C), numbers (B, M) and places
    (B, 3 or 0), NaN where unknown, `shown` (B, K)."""

    categories: Tensor
    numbers: Tensor
    places: Tensor
    shown: Tensor
    shown_places: Tensor

    @classmethod
    def of(cls, views: Mapping[str, Tensor]) -> "Facts":
        """Those of views."""
        numbers, places, moved = (
            _back(views[name]) for name in ("numbers", "places", "shown_places")
        )
        return cls(views["categories"], numbers, places, views["shown"] > 0, moved)

    def records(self) -> Records:
        """What the records show."""
        sizes = [self.categories.shape[1], self.numbers.shape[1]]
        of_categories, of_numbers, of_place = self.shown.tensor_split([sizes[0], sum(sizes)], dim=1)
        return Records(
            self.categories.masked_fill(~of_categories, UNKNOWN),
            self.numbers.masked_fill(~of_numbers, math.nan),
            self.shown_places.masked_fill(~of_place, math.nan),
        )

    def gathered(self, group: Group) -> "Facts":
        """Those of all processes."""
        return Facts(*(group.gather(part) for part in vars(self).values()))


def agrees(records: Facts, people: Facts) -> Tensor:
    """Which records (R, B) could be of which people: all that they show is so, or unknown, of the person."""
    same = [
        (mine_R[:, None] == theirs_B) | (theirs_B == UNKNOWN)
        for mine_R, theirs_B in zip(records.categories.T, people.categories.T, strict=True)
    ]
    for mine_R, theirs_B in zip(records.numbers.T, people.numbers.T, strict=True):
        same.append(~((mine_R[:, None] - theirs_B).abs() >= SAME_NUMBER))  # so is NaN
    if records.places.shape[1]:
        same.append(~(records.places @ people.places.T < SAME_PLACE))
    hides = ~records.shown.T[..., None]
    return torch.stack(
        [hide_R1 | same_RB for hide_R1, same_RB in zip(hides, same, strict=True)]
    ).all(0)


def among(logits_BG: Tensor, agree_BG: Tensor, partners_B: Tensor) -> Tensor:
    """The mean surprise at each one's partner, among all that do not agree with it."""
    partner_BG = functional.one_hot(partners_B, logits_BG.shape[1]).bool()
    return functional.cross_entropy(
        logits_BG.masked_fill(agree_BG & ~partner_BG, -math.inf), partners_B
    )


def guess(views: Mapping[str, Tensor]) -> float:
    """The loss of a network that knows nothing, for which all vectors are the same."""
    facts = Facts.of(views)
    agree_RB = agrees(facts, facts)
    partners_B = torch.arange(len(agree_RB))
    blind = torch.zeros(agree_RB.shape)
    return float(torch.stack([among(blind, a, partners_B) for a in (agree_RB.T, agree_RB)]).mean())


def some_columns(
    known_NK: NDArray[np.bool_], whole: float, rng: np.random.Generator
) -> NDArray[np.bool_]:
    """Of the columns that are known of each, some: any number of them, at least one, is as likely; for the share
    `whole` all."""
    order_NK = np.where(known_NK, rng.random(known_NK.shape), 2.0).argsort(axis=1).argsort(axis=1)
    count_N = known_NK.sum(axis=1)
    kept_N = 1 + (rng.random(len(known_NK)) * count_N).astype(np.int64)
    kept_N = np.where(rng.random(len(known_NK)) < whole, count_N, kept_N)
    shown: NDArray[np.bool_] = known_NK & (order_NK < kept_N[:, None])
    return shown


def _whole_numbers(values: NDArray[Any]) -> NDArray[np.int64]:
    ticks = np.rint(np.nan_to_num(values) * TICKS).astype(np.int64)
    return np.where(np.isnan(values), NOTHING, ticks)


def _back(ticks: Tensor) -> Tensor:
    """What `_whole_numbers` has made whole."""
    return (ticks.double() / TICKS).float().masked_fill(ticks == NOTHING, math.nan)
