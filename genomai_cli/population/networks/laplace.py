"""A sample's coordinates on the axes of admixture, and the parts of Laplace's approximation of integrals over them.

Shape suffixes: B samples, P populations, S sites, J axes.
"""

import torch
from torch import Tensor

NEWTON_STEPS = 3
MAX_STEP = 3.0
MAX_LOG_GAP = 150.0  # nats below the best population, beyond which no integral is computed


def mode(
    alternate_BS: Tensor,
    total_BS: Tensor,
    theta_PS: Tensor,
    axes_SJ: Tensor,
    precision_PJJ: Tensor,
    start_BPJ: Tensor | None = None,
) -> Tensor:
    """The most probable coordinates u (B, P, J) of each sample as a member of each population.

    `theta_PS` and `precision_PJJ` may have a first dimension B of their own. With a `start`, the result of one step
    from 0, a step is saved.
    """
    observed_B1J = (alternate_BS @ axes_SJ).unsqueeze(1)
    u_BPJ = start_BPJ
    for _ in range(NEWTON_STEPS if u_BPJ is None else NEWTON_STEPS - 1):
        if u_BPJ is None:  # at u = 0 the same for all samples
            f_BPS = torch.sigmoid(theta_PS)
            f_BPS = f_BPS if f_BPS.dim() == 3 else f_BPS.expand(len(alternate_BS), -1, -1)
            u_BPJ = alternate_BS.new_zeros(*f_BPS.shape[:2], axes_SJ.shape[1])
        else:
            f_BPS = torch.sigmoid(theta_PS + u_BPJ @ axes_SJ.T)
        expected_BPJ = (total_BS.unsqueeze(1) * f_BPS) @ axes_SJ
        slope_BPJ = observed_B1J - expected_BPJ - (u_BPJ.unsqueeze(-2) @ precision_PJJ).squeeze(-2)
        curvature_BPJJ = curvature(total_BS, f_BPS, axes_SJ) + precision_PJJ
        step_BPJ = torch.linalg.solve(curvature_BPJJ, slope_BPJ.unsqueeze(-1)).squeeze(-1)
        u_BPJ = u_BPJ + step_BPJ.clamp(-MAX_STEP, MAX_STEP)
    assert u_BPJ is not None
    return u_BPJ


def curvature(total_BS: Tensor, f_BPS: Tensor, axes_SJ: Tensor) -> Tensor:
    """The Fisher information about u: V' diag(n f (1 - f)) V, (B, P, J, J)."""
    weight_BPS = total_BS.unsqueeze(1) * f_BPS * (1 - f_BPS)
    return symmetric_matrices(weight_BPS @ axis_products(axes_SJ), axes_SJ.shape[1])


def axis_products(axes_SJ: Tensor) -> Tensor:
    """The products (S, K) of all pairs of axes, each pair once."""
    first_K, second_K = torch.triu_indices(axes_SJ.shape[1], axes_SJ.shape[1])
    return axes_SJ[:, first_K] * axes_SJ[:, second_K]


def symmetric_matrices(flat_K: Tensor, axes: int) -> Tensor:
    """Numbers of all pairs of axes, each once (..., K), as symmetric matrices (..., J, J)."""
    first_K, second_K = torch.triu_indices(axes, axes, device=flat_K.device)
    matrix_JJ = flat_K.new_empty(*flat_K.shape[:-1], axes, axes)
    matrix_JJ[..., first_K, second_K] = flat_K
    matrix_JJ[..., second_K, first_K] = flat_K
    return matrix_JJ


def candidates(naive_BP: Tensor, quadratic_BP: Tensor) -> Tensor:
    """Whether each population (B, P) is within `MAX_LOG_GAP` of the best by one of two scores."""
    chosen_BP = torch.zeros_like(naive_BP, dtype=torch.bool)
    for scores_BP in (naive_BP, quadratic_BP):
        chosen_BP |= scores_BP > scores_BP.amax(1, keepdim=True) - MAX_LOG_GAP
    return chosen_BP


def laplace_correction(curvature_JJ: Tensor, spread_JJ: Tensor) -> Tensor:
    """The term that Laplace's approximation adds to a maximum (...,), from curvature and spread (..., J, J)."""
    identity = torch.eye(
        curvature_JJ.shape[-1], dtype=curvature_JJ.dtype, device=curvature_JJ.device
    )
    correction: Tensor = -0.5 * torch.linalg.slogdet(identity + spread_JJ @ curvature_JJ).logabsdet
    return correction
