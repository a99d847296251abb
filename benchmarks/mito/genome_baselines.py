"""What anyone would try first on aligned genomes: logistic regression, naive Bayes, the nearest neighbour.


A variant is a letter other than the reference's that somebody has among those learnt from. Position 3107 of rCRS is a
placeholder, N: whether a person has a letter there tells of the batch that was sequenced, not of the person. A method
reads it only if it is told to.

Shape suffixes: N genomes, M genomes learnt from, L letters of the reference, V variants, C classes.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from scipy.special import log_softmax
from sklearn.linear_model import LogisticRegression

from benchmarks.crossvalidation.baselines import Array
from benchmarks.crossvalidation.trials import Letters, Rows
from benchmarks.mito.genomes import Mask

Model = Callable[[Letters, Mask], Array]
"""Letters (N, L) and which of the positions (L,) are visible, to probabilities (N, C)."""

Floats = NDArray[np.float32]

BASES = np.frombuffer(b"ACGT", np.uint8)
C = 1.0  # of the logistic regression
PSEUDO_PEOPLE = 0.5  # with a variant, and without: Jeffreys' prior


@dataclass(frozen=True, eq=False)
class Variants:
    """The variants of the training genomes: the `position` (V,) of each on the reference, and its `letter` (V,)."""

    position: Rows
    letter: Letters

    @classmethod
    def of(
        cls, letters_ML: Letters, reference_L: Letters, *, placeholder: bool = False
    ) -> "Variants":
        """The variants of these genomes; with `placeholder` also letters where the reference has none."""
        usable_L = np.isin(reference_L, BASES) | placeholder
        positions_by_base = [
            (base, np.flatnonzero((letters_ML == base).any(0) & (reference_L != base) & usable_L))
            for base in BASES
        ]
        letters = np.concatenate(
            [np.full(len(positions), base) for base, positions in positions_by_base]
        )
        return cls(
            np.concatenate([positions for _, positions in positions_by_base]),
            letters.astype(np.uint8),
        )

    def presence(self, letters_NL: Letters) -> NDArray[np.bool_]:
        """Who has which variant (N, V); an unknown letter is none."""
        present_NV: NDArray[np.bool_] = letters_NL[:, self.position] == self.letter
        return present_NV

    def known(self, letters_NL: Letters) -> NDArray[np.bool_]:
        """Whether a person has a base at the position of each variant (N, V)."""
        known_NV: NDArray[np.bool_] = np.isin(letters_NL[:, self.position], BASES)
        return known_NV


def majority(labels: Rows, classes: int) -> Model:
    """The share of every class among the training people, for everybody."""
    share_C = np.bincount(labels, minlength=classes) / len(labels)
    return lambda letters_NL, mask_L: np.tile(share_C, (len(letters_NL), 1))


def logistic(variants: Variants, letters_ML: Letters, labels: Rows, classes: int) -> Model:
    """Multinomial logistic regression on the presence of variants; outside of visible positions, the mean."""
    present_MV = variants.presence(letters_ML)
    regression = LogisticRegression(C=C, max_iter=500)
    regression.fit(csr_matrix(present_MV, dtype=np.float64), labels)
    mean_V = present_MV.mean(0)

    def model(letters_NL: Letters, mask_L: Mask) -> Array:
        visible_V = mask_L[variants.position]
        x_NV = np.where(visible_V, variants.presence(letters_NL), mean_V)
        table_NC = np.zeros((len(x_NV), classes))
        table_NC[:, regression.classes_] = regression.predict_proba(x_NV)
        return table_NC

    return model


def bayes(variants: Variants, letters_ML: Letters, labels: Rows, classes: int) -> Model:
    """Bernoulli naive Bayes on the presence of variants; what is not known is skipped."""
    member_CM = (np.arange(classes)[:, None] == labels).astype(np.float64)
    known_MV = variants.known(letters_ML)
    present_CV = member_CM @ variants.presence(letters_ML)
    share_CV = (present_CV + PSEUDO_PEOPLE) / (member_CM @ known_MV + 2 * PSEUDO_PEOPLE)
    log_prior_C = np.log(np.maximum(member_CM.sum(1), 1e-3) / len(labels))
    log_VC, log_not_VC = np.log(share_CV).T, np.log1p(-share_CV).T

    def model(letters_NL: Letters, mask_L: Mask) -> Array:
        present_NV = variants.presence(letters_NL) & mask_L[variants.position]
        absent_NV = variants.known(letters_NL) & mask_L[variants.position] & ~present_NV
        fit_NC = present_NV @ log_VC + absent_NV @ log_not_VC
        return np.asarray(np.exp(log_softmax(fit_NC + log_prior_C, axis=1)))

    return model


def nearest(variants: Variants, letters_ML: Letters, labels: Rows, classes: int) -> Model:
    """The labels of the nearest genomes by the number of letters that differ where both are known (Hamming)."""
    positions_P = np.unique(variants.position)
    letters_MP = letters_ML[:, positions_P]

    def model(letters_NL: Letters, mask_L: Mask) -> Array:
        visible_P = mask_L[positions_P]
        distance_NM = hamming(letters_NL[:, positions_P[visible_P]], letters_MP[:, visible_P])
        return shares_of_nearest(distance_NM, labels, classes)

    return model


def hamming(letters_NP: Letters, letters_MP: Letters) -> Floats:
    """How many letters differ (N, M) where both genomes have a base."""
    differing_NM = one_hot_sum(np.isin(letters_NP, BASES), np.isin(letters_MP, BASES))
    for base in BASES:
        differing_NM -= one_hot_sum(letters_NP == base, letters_MP == base)
    return differing_NM


def one_hot_sum(first_NP: NDArray[np.bool_], second_MP: NDArray[np.bool_]) -> Floats:
    """At how many positions (N, M) both are true."""
    return first_NP.astype(np.float32) @ second_MP.astype(np.float32).T


def shares_of_nearest(
    distance_NM: NDArray[np.floating], labels: Rows, classes: int, *, tolerance: float = 1e-6
) -> Array:
    """The share of each class (N, C) among the genomes at the smallest distance; several may be equal."""
    min_N1 = distance_NM.min(axis=1, keepdims=True)
    nearest_NM = (distance_NM <= min_N1 + tolerance).astype(np.float64)
    votes_NC = nearest_NM @ np.eye(classes)[labels]
    return np.asarray(votes_NC / votes_NC.sum(axis=1, keepdims=True))
