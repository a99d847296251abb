"""The copying model of Li and Stephens (2003, Genetics 165:2213) for imputation: a haplotype is a mosaic of others.

Shape suffixes: B haplotypes to impute, H haplotypes copied, S sites, K known sites.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

RATE = 1e-5  # switches a base pair; of 1e-6 to 1e-4, and ERROR of 0.001 to 0.03, the best on chr22
ERROR = 0.01  # a copied allele differs so often
CHUNK = 64  # haplotypes at once


@torch.inference_mode()
def imputed(
    shown_BK: NDArray[np.int8],
    known_K: NDArray[np.int64],
    haplotypes_HS: NDArray[np.int8],
    positions_S: NDArray[np.int64],
    rate: float = RATE,
    error: float = ERROR,
) -> NDArray[np.float64]:
    """The probability (B, S) of allele 1, by forward-backward over the known sites; in between it is exact."""
    copied_HS = torch.from_numpy(haplotypes_HS).float()
    place_S = torch.from_numpy(positions_S).double()
    parts = [
        _of_chunk(torch.from_numpy(part).float(), torch.from_numpy(known_K), copied_HS, place_S, rate, error)
        for part in np.array_split(shown_BK, -(-len(shown_BK) // CHUNK))
    ]  # fmt: skip
    return torch.cat(parts).double().numpy()


def _of_chunk(
    shown_BK: Tensor,
    known_K: Tensor,
    copied_HS: Tensor,
    place_S: Tensor,
    rate: float,
    error: float,
) -> Tensor:
    matches = [_match(shown_BK[:, k], copied_HS[:, site], error) for k, site in enumerate(known_K)]
    stay_K = torch.exp(-rate * place_S[known_K].diff()).float()
    forward = [_normal(matches[0])]
    for stay, match in zip(stay_K, matches[1:], strict=True):
        forward.append(_normal((stay * forward[-1] + (1 - stay) / len(copied_HS)) * match))
    found_BS = torch.empty(len(shown_BK), len(place_S))
    backward = torch.ones_like(forward[0])
    for k in range(len(known_K) - 1, -1, -1):
        after = _scaled(backward * matches[k + 1]) if k < len(stay_K) else None
        end = known_K[k + 1] if after is not None else len(place_S)
        left = place_S[known_K[k] : end] - place_S[known_K[k]]
        right = None if after is None else place_S[end] - place_S[known_K[k] : end]
        between = _between(forward[k], after, left, right, copied_HS[:, known_K[k] : end], rate)
        found_BS[:, known_K[k] : end] = between
        if after is not None:
            backward = stay_K[k] * after + (1 - stay_K[k])
    before = place_S[known_K[0]] - place_S[: known_K[0]]
    first = _normal(forward[0] * (backward if len(known_K) > 1 else 1))
    found_BS[:, : known_K[0]] = _between(
        first, None, before, None, copied_HS[:, : known_K[0]], rate
    )
    return found_BS


def _between(
    forward_BH: Tensor,
    after_BH: Tensor | None,
    left_S: Tensor,
    right_S: Tensor | None,
    copied_HS: Tensor,
    rate: float,
) -> Tensor:
    """The probabilities (B, S) at sites so far from the known one at the left, and from that at the right."""
    stay_S = torch.exp(-rate * left_S).float()
    usual_S = copied_HS.mean(0)
    alone_BS = stay_S * (forward_BH @ copied_HS) + (1 - stay_S) * usual_S
    if after_BH is None or right_S is None:
        return alone_BS
    keep_S = torch.exp(-rate * right_S).float()
    both_BH = forward_BH * after_BH
    with_BS = stay_S * (both_BH @ copied_HS)
    with_BS += (1 - stay_S) * (after_BH @ copied_HS) / len(copied_HS)
    total_BS = keep_S * (stay_S * both_BH.sum(1, keepdim=True) + 1 - stay_S) + 1 - keep_S
    return (keep_S * with_BS + (1 - keep_S) * alone_BS) / total_BS


def _match(shown_B: Tensor, copied_H: Tensor, error: float) -> Tensor:
    """How likely the allele is where each haplotype is copied (B, H)."""
    return torch.where(shown_B[:, None] == copied_H, 1 - error, error)


def _normal(state_BH: Tensor) -> Tensor:
    return state_BH / state_BH.sum(1, keepdim=True)


def _scaled(state_BH: Tensor) -> Tensor:
    """With a mean of 1 over the haplotypes."""
    return state_BH / state_BH.mean(1, keepdim=True)
