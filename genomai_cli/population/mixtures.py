"""Samples as mixtures of sources: which share of a sample's alleles comes from which, by maximum likelihood.

The sources' allele frequencies are held fixed. Two models give the fractions:

- `independent_fractions`: every allele is drawn from a source by itself, the model of supervised ADMIXTURE
  (Alexander and Lange 2011, BMC Bioinformatics 12:246), at the maximum of its likelihood, which has only one, by
  Newton's method on the simplex.
- `linked_fractions`: alleles that lie near each other come from the same source, until a recombination since the
  mixture; a hidden Markov chain over the pairs of sources of both haplotypes (Falush et al. 2003, Genetics 164:1567;
  Tang et al. 2006, Am J Hum Genet 79:1). That separates long pieces by all their sites, and is far more precise.

Genotypes enter by their likelihoods, so uncertain ones count by their information and missing ones not at all.

Shape suffixes: N samples, S sites, K sources, C pairs of sources, W windows.
"""

from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from genomai_cli.population.panel import Panel, coordinates

Array = NDArray[np.float64]
Small = NDArray[np.float32]
NEWTON_STEPS = 12
INNER_STEPS = 60  # of the quadratic problem in a Newton step
MIN_GAIN = 1e-6  # nats that a step gains at least: else the search has ended
_LIKELIHOODS_OF_COPIES = np.array(
    [[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 1]], np.float32
)  # the last is -1, missing


@dataclass(frozen=True, eq=False)
class Genotypes:
    """The likelihoods (N, S, 3) of no, one and two alternate alleles; of a missing genotype they are equal.

    `ploidy` (N,) is 1 for a sample that is one haplotype, written as if it were homozygous everywhere.
    """

    likelihood: Small
    ploidy: Array

    @classmethod
    def of(cls, copies_NS: NDArray[np.int8], ploidy_N: Array | None = None) -> Self:
        """Genotypes that are known from the copies of the alternate allele, -1 where missing."""
        diploid_N = np.full(len(copies_NS), 2.0)
        return cls(_LIKELIHOODS_OF_COPIES[copies_NS], diploid_N if ploidy_N is None else ploidy_N)

    @property
    def known(self) -> NDArray[np.bool_]:
        """Where (N, S) the genotype is not missing."""
        known: NDArray[np.bool_] = (self.likelihood != self.likelihood[..., :1]).any(2)
        return known

    def dosage(self, frequency_S: Array) -> tuple[Array, Array]:
        """Expected copies (N, S) if the frequencies were these, and how much each is known: 1 for certain."""
        prior_S3 = np.stack(
            [(1 - frequency_S) ** 2, 2 * frequency_S * (1 - frequency_S), frequency_S**2], axis=1
        )
        posterior = self.likelihood * prior_S3
        posterior /= posterior.sum(2, keepdims=True)
        copies_NS = posterior[..., 1] + 2 * posterior[..., 2]
        variance_NS = posterior[..., 1] + 4 * posterior[..., 2] - copies_NS**2
        known_NS = np.clip(1 - variance_NS / (2 * frequency_S * (1 - frequency_S)), 0, 1)
        known_NS[known_NS < 1e-6] = 0
        return copies_NS, known_NS


@dataclass(frozen=True, eq=False)
class Fractions:
    """Fractions (N, K) that add up to 1, and their standard errors (N, K)."""

    fractions: Array
    errors: Array


# --- every allele by itself


def independent_fractions(
    genotypes: Genotypes, sources_KS: Array, start: Array | None = None, steps: int = NEWTON_STEPS
) -> Fractions:
    """The likeliest fractions if every allele is drawn by itself; the search starts at `start`, or at equal ones. It
    ends for each sample by itself, so that others beside it do not matter."""
    samples, sources = len(genotypes.likelihood), len(sources_KS)
    polynomial = _Polynomial(genotypes.likelihood.astype(np.float64))
    q_NK = np.full((samples, sources), 1 / sources) if start is None else start
    log_likelihood_N, gradient_NK, curvature_NKK = polynomial.with_derivatives(q_NK, sources_KS)
    active_N = np.ones(samples, np.bool_)
    for _ in range(steps):
        target_NK = _quadratic_maximum(gradient_NK, curvature_NKK, q_NK)
        next_NK = _line_search(polynomial, sources_KS, q_NK, target_NK, log_likelihood_N)
        q_NK = np.where(active_N[:, None], next_NK, q_NK)
        before_N = log_likelihood_N
        log_likelihood_N, gradient_NK, curvature_NKK = polynomial.with_derivatives(q_NK, sources_KS)
        active_N &= log_likelihood_N - before_N >= MIN_GAIN
        if not active_N.any():
            break
    scale_N1 = genotypes.ploidy[:, None] / 2
    errors_NK = _laplace_errors(q_NK, gradient_NK * scale_N1, curvature_NKK * scale_N1[..., None])
    return Fractions(q_NK, errors_NK)


class _Polynomial:
    """The log-likelihood of genotypes whose probability is c0 + c1 f + c2 f^2 at the allele frequency f."""

    def __init__(self, likelihood: Array) -> None:
        none, one, two = np.moveaxis(likelihood, 2, 0)
        self.c0, self.c1, self.c2 = none, 2 * (one - none), none - 2 * one + two

    def log_likelihood(self, q_NK: Array, sources_KS: Array) -> Array:
        """The log-likelihood (N,)."""
        f_NS = q_NK @ sources_KS
        log_likelihood_N: Array = np.log(self.c0 + f_NS * (self.c1 + f_NS * self.c2)).sum(1)
        return log_likelihood_N

    def with_derivatives(self, q_NK: Array, sources_KS: Array) -> tuple[Array, Array, Array]:
        """The log-likelihood (N,), its slope (N, K) and its curvature (N, K, K), the latter never negative."""
        sources = len(sources_KS)
        f_NS = q_NK @ sources_KS
        p_NS = self.c0 + f_NS * (self.c1 + f_NS * self.c2)
        gradient_NS = (self.c1 + 2 * f_NS * self.c2) / p_NS
        weight_NS = np.maximum(gradient_NS**2 - 2 * self.c2 / p_NS, 0).astype(np.float32)
        first, second = np.triu_indices(sources)
        products_CS = (sources_KS[first] * sources_KS[second]).astype(np.float32)
        curvature_NKK = np.empty((len(q_NK), sources, sources))
        curvature_NKK[:, first, second] = curvature_NKK[:, second, first] = (
            weight_NS @ products_CS.T
        )
        return np.log(p_NS).sum(1), gradient_NS @ sources_KS.T, curvature_NKK


def _line_search(
    polynomial: _Polynomial,
    sources_KS: Array,
    q_NK: Array,
    target_NK: Array,
    log_likelihood_N: Array,
) -> Array:
    """A step towards the target, halved where it would lose."""
    share_N1 = np.ones((len(q_NK), 1))
    for _ in range(6):
        candidate_NK = q_NK + share_N1 * (target_NK - q_NK)
        worse_N = polynomial.log_likelihood(candidate_NK, sources_KS) < log_likelihood_N - 1e-9
        if not worse_N.any():
            return candidate_NK
        share_N1[worse_N] /= 2
    share_N1[worse_N] = 0
    return q_NK + share_N1 * (target_NK - q_NK)


def _quadratic_maximum(gradient_NK: Array, curvature_NKK: Array, q_NK: Array) -> Array:
    """Where on the simplex the quadratic about q is greatest: accelerated projected gradients (Nesterov 1983)."""
    scale_N1 = np.linalg.norm(curvature_NKK, axis=(1, 2))[:, None] + 1e-9
    x_NK = y_NK = q_NK
    momentum = 1.0
    for _ in range(INNER_STEPS):
        ascent_NK = gradient_NK - (curvature_NKK @ (y_NK - q_NK)[..., None])[..., 0]
        next_NK = _project_to_simplex(y_NK + ascent_NK / scale_N1)
        next_momentum = (1 + np.sqrt(1 + 4 * momentum**2)) / 2
        y_NK = next_NK + (momentum - 1) / next_momentum * (next_NK - x_NK)
        x_NK, momentum = next_NK, next_momentum
    return x_NK


def _project_to_simplex(v_NK: Array) -> Array:
    """The nearest fractions that add up to 1 (Duchi et al. 2008, ICML)."""
    sorted_NK = -np.sort(-v_NK, axis=1)
    excess_NK = (np.cumsum(sorted_NK, axis=1) - 1) / np.arange(1, v_NK.shape[1] + 1)
    last_N1 = (sorted_NK > excess_NK).sum(axis=1, keepdims=True) - 1
    projected: Array = np.maximum(v_NK - np.take_along_axis(excess_NK, last_N1, 1), 0)
    return projected


def _laplace_errors(q_NK: Array, gradient_NK: Array, curvature_NKK: Array) -> Array:
    """Standard errors (N, K) by the curvature along the simplex.

    A fraction that is 0 because the likelihood falls from there has an exponential posterior, whose standard deviation
    is one over the slope: its square joins the curvature.
    """
    sources = q_NK.shape[1]
    bound_NK = (q_NK * gradient_NK).sum(1, keepdims=True) - gradient_NK
    bound_NK = np.where(q_NK < 1e-4, np.maximum(bound_NK, 0), 0)
    precision_NKK = curvature_NKK + (bound_NK**2)[:, :, None] * np.eye(sources)
    basis_KB = np.linalg.svd(np.eye(sources) - 1 / sources)[0][
        :, :-1
    ]  # directions that add up to 0
    inner_NBB = np.linalg.inv(basis_KB.T @ precision_NKK @ basis_KB + 1e-6 * np.eye(sources - 1))
    variance_NK = np.einsum("kb,nbc,kc->nk", basis_KB, inner_NBB, basis_KB)
    errors: Array = np.sqrt(np.maximum(variance_NK, 0))
    return errors


# --- alleles that lie near each other together

WINDOW_SIZE = 3_000_000  # base pairs within which a haplotype has one source
CENTIMORGANS_PER_BASE = 1e-6
GENERATIONS = (2.0, 8.0, 20.0)  # since the mixture; the likeliest is taken for each sample
START_CHAIN, START_STEPS = 1, 4  # of the search for fractions by which that is chosen
LINKED_SITES = 0.01  # the share of a site's information that each other one in its window repeats
SITES_PER_RUN = 16  # sites whose probabilities can be multiplied without underflow
EM_STEPS = 25
TOLERANCE = 1e-3  # the largest change of a fraction at which the search has ended
MIN_FRACTION = 1e-6  # no fraction is less while searching, so none is stuck at 0
ERROR_SCALE = 1.4  # errors of simulated mixtures (benchmarks/ancestry/proportions.py), over those of the curvature
TILT = 4.0  # nats for a sample that is all of a source: for differences
MAX_RESPONSE = 0.98  # without data the posterior fractions follow the prior ones altogether


@dataclass(frozen=True, eq=False)
class Windows:
    """A panel's sites along the chromosomes: `order` (S,); `runs`, where runs of sites within a window begin in it;
    `starts` (W,), where windows begin among the runs; `distance` (W,) in Morgan to the window before, infinite on
    another chromosome."""

    order: NDArray[np.int64]
    runs: NDArray[np.int64]
    starts: NDArray[np.int64]
    distance: Array

    @classmethod
    def of(cls, panel: Panel) -> Self:
        """The windows of a panel."""
        contig_S, position_S = coordinates(panel)
        order = np.lexsort([position_S, contig_S])
        contig_S, position_S = contig_S[order], position_S[order]
        cell_S = position_S // WINDOW_SIZE
        is_first_S = _changes(contig_S) | _changes(cell_S)
        starts = np.flatnonzero(is_first_S)
        within_S = np.arange(len(order)) - starts[np.cumsum(is_first_S) - 1]
        runs = np.flatnonzero(within_S % SITES_PER_RUN == 0)
        middle_W = np.add.reduceat(position_S, starts) / np.diff([*starts, len(order)])
        distance_W = np.diff(middle_W, prepend=0) * CENTIMORGANS_PER_BASE / 100
        distance_W[_changes(contig_S[starts])] = np.inf
        return cls(order, runs, np.searchsorted(runs, starts), distance_W)

    def summed(self, values: Array) -> Array:
        """Sums (..., W) over the windows of values (..., S) in the order of the panel."""
        of_runs = np.add.reduceat(values[..., self.order], self.runs, axis=-1)
        sums: Array = np.add.reduceat(of_runs, self.starts, axis=-1)
        return sums


def _changes(values: NDArray[np.generic]) -> NDArray[np.bool_]:
    """Where a value differs from the one before; the first does."""
    return np.concatenate([[True], values[1:] != values[:-1]])


def linked_fractions(genotypes: Genotypes, sources_KS: Array, windows: Windows) -> Fractions:
    """The likeliest fractions if haplotypes are pieces of sources; shares of the known sites by source.

    A search by expectation-maximisation, begun with flat fractions, at the likeliest of `GENERATIONS` for each sample.
    Few sources only: the pairs of them are the chain's states. The errors are those of the sources of a sample's own
    pieces, given its genotypes, when the fractions themselves have to be found too.
    """
    known_NW = windows.summed(genotypes.known.astype(np.float64))
    sites_WN = (known_NW.T / np.maximum(known_NW.sum(1), 1)).astype(np.float32)
    emission_WCN = _emissions(genotypes, sources_KS, windows, known_NW.T)
    stay_GW = np.exp(-np.outer(GENERATIONS, windows.distance)).astype(np.float32)
    chains = [
        _Chain(emission_WCN, stay_W[:, None], sites_WN, len(sources_KS)) for stay_W in stay_GW
    ]
    fraction_KN = chains[START_CHAIN].fit(
        _uniform_fractions(len(sources_KS), len(known_NW)), START_STEPS
    )
    best_N = np.argmax([chain.posterior_fractions(fraction_KN)[1] for chain in chains], axis=0)
    sample_chain = _Chain(emission_WCN, stay_GW[best_N].T, sites_WN, len(sources_KS))
    fraction_KN = sample_chain.fit(fraction_KN, EM_STEPS)
    error_KN = sample_chain.errors(fraction_KN)
    return Fractions(fraction_KN.T, ERROR_SCALE * error_KN.T)


def _uniform_fractions(sources: int, samples: int) -> Array:
    return np.full((sources, samples), 1 / sources)


def _emissions(genotypes: Genotypes, sources_KS: Array, windows: Windows, known_WN: Array) -> Small:
    """Log-probabilities (W, C, N) of the genotypes in every window, given the sources of both haplotypes."""
    first, second = np.triu_indices(len(sources_KS))
    ordered_KS = sources_KS[:, windows.order]
    sum_CS = ordered_KS[first] + ordered_KS[second]
    product_CS = ordered_KS[first] * ordered_KS[second]
    emission_WCN = np.empty(
        (len(windows.starts), len(first), len(genotypes.likelihood)), np.float32
    )
    for number, likelihood_S3 in enumerate(genotypes.likelihood):
        none, one, two = likelihood_S3[windows.order].astype(np.float64).T
        p_CS = none + (one - none) * sum_CS + (none - 2 * one + two) * product_CS
        runs_CR = np.log(np.multiply.reduceat(p_CS, windows.runs, axis=1))
        emission_WCN[:, :, number] = np.add.reduceat(runs_CR, windows.starts, axis=1).T
    repeated_WN = 1 + LINKED_SITES * np.maximum(known_WN - 1, 0)
    emission_WCN *= (genotypes.ploidy / 2 / repeated_WN)[:, None].astype(np.float32)
    return emission_WCN


@dataclass(eq=False)
class _Chain:
    """A hidden Markov chain of the pairs of sources, for all samples at once.

    `emission` (W, C, N); `stay` (W, N or 1), the probability that a haplotype has not switched since the window before;
    `sites` (W, N), the shares of a sample's known sites.
    """

    emission: Small
    stay: Small
    sites: Array
    sources: int

    def __post_init__(self) -> None:
        self.first, self.second = np.triu_indices(self.sources)
        self.arrangements_C1 = np.where(self.first == self.second, 1, 2)[:, None].astype(np.float32)
        number_KK = np.zeros((self.sources, self.sources), np.int64)
        number_KK[self.first, self.second] = number_KK[self.second, self.first] = range(
            len(self.first)
        )
        self.pair_KK = number_KK
        self.share_KC = np.zeros(
            (self.sources, len(self.first)), np.float32
        )  # of a pair's haplotypes
        for pair, members in enumerate(zip(self.first, self.second, strict=True)):
            for source in members:
                self.share_KC[source, pair] += 0.5

    def of(self, samples: NDArray[np.int64]) -> "_Chain":
        """The chain of some of the samples."""
        stay_WN = self.stay if self.stay.shape[1] == 1 else self.stay[:, samples]
        return _Chain(self.emission[:, :, samples], stay_WN, self.sites[:, samples], self.sources)

    def fit(self, q_KN: Array, steps: int) -> Array:
        """The fractions (K, N) of the known sites at the end of the search."""
        fraction_KN = q_KN.copy()
        active = np.arange(q_KN.shape[1])
        for _ in range(steps):
            before_KN = _bounded_fractions(fraction_KN[:, active])
            fraction_KN[:, active], _ = self.of(active).posterior_fractions(before_KN)
            active = active[np.abs(fraction_KN[:, active] - before_KN).max(0) > TOLERANCE]
            if not len(active):
                break
        return fraction_KN

    def posterior_fractions(self, q_KN: Array) -> tuple[Array, Array]:
        """The posterior fractions (K, N) of the known sites given the prior ones, and the log-likelihoods (N,)."""
        prior_KN = _bounded_fractions(q_KN).astype(np.float32)
        max_W1N = self.emission.max(1, keepdims=True)
        probability_WCN = np.exp(self.emission - max_W1N)
        forward_WCN, log_likelihood_N = self._forward(probability_WCN, prior_KN)
        fraction_KN = np.zeros(q_KN.shape)
        backward_CN = np.ones_like(probability_WCN[0])
        for window in range(len(self.stay) - 1, -1, -1):
            state_CN = forward_WCN[window] * backward_CN
            state_CN /= state_CN.sum(0)
            fraction_KN += self.sites[window] * (self.share_KC @ state_CN)
            if window:
                backward_CN = self._backward(
                    probability_WCN[window] * backward_CN, prior_KN, window
                )
        return fraction_KN, log_likelihood_N + max_W1N.sum((0, 1), dtype=np.float64)

    def _forward(self, probability_WCN: Small, q_KN: Small) -> tuple[Small, Array]:
        prior_CN = q_KN[self.first] * q_KN[self.second] * self.arrangements_C1
        forward_WCN = np.empty_like(probability_WCN)
        log_likelihood_N = np.zeros(q_KN.shape[1])
        state_CN = prior_CN
        for window, stay_N in enumerate(self.stay):
            if stay_N.any():
                stayed_KN = self.share_KC @ state_CN
                one_switched_CN = stayed_KN[self.first] * q_KN[self.second]
                one_switched_CN += stayed_KN[self.second] * q_KN[self.first]
                one_switched_CN *= self.arrangements_C1
                one_switched_CN *= stay_N * (1 - stay_N)
                state_CN = (
                    stay_N * stay_N * state_CN + one_switched_CN + (1 - stay_N) ** 2 * prior_CN
                )
            else:
                state_CN = prior_CN
            state_CN = state_CN * probability_WCN[window]
            total_N = state_CN.sum(0)
            state_CN /= total_N
            forward_WCN[window] = state_CN
            log_likelihood_N += np.log(total_N)
        return forward_WCN, log_likelihood_N

    def _backward(self, after_CN: Small, q_KN: Small, window: int) -> Small:
        stay_N = self.stay[window]
        if not stay_N.any():
            return np.ones_like(after_CN)
        # One haplotype stays with its source, the other switches.
        partner_KN = (after_CN[self.pair_KK] * q_KN).sum(1)
        backward_CN = stay_N * stay_N * after_CN
        backward_CN += stay_N * (1 - stay_N) * (partner_KN[self.first] + partner_KN[self.second])
        backward_CN += (1 - stay_N) ** 2 * (partner_KN * q_KN).sum(0)
        backward_CN /= backward_CN.max(0)
        scaled_CN: Small = backward_CN
        return scaled_CN

    def errors(self, q_KN: Array) -> Array:
        """Standard errors (K, N) of the fractions at the end of the search.

        Given the prior fractions, that of the posterior ones is V = d posterior / d tilt, where each source's sites are
        favoured by a factor exp(tilt share). The prior ones follow, by J = d posterior / d prior: (I - J)^-1 V in all.
        """
        q_KN = _bounded_fractions(q_KN)
        middle_KN, _ = self.posterior_fractions(q_KN)
        curvature, response = [], []
        for source in range(self.sources):
            tilt = TILT * self.sites[:, None] * self.share_KC[source][:, None]
            tilted = replace(self, emission=self.emission + tilt.astype(np.float32))
            curvature.append((tilted.posterior_fractions(q_KN)[0] - middle_KN) / TILT)
            step_N = np.maximum(0.05 * q_KN[source], 1e-3)
            perturbed_KN = q_KN.copy()
            perturbed_KN[source] += step_N
            response.append(
                (self.posterior_fractions(perturbed_KN / perturbed_KN.sum(0))[0] - middle_KN)
                / step_N
            )
        curvature_NKK, response_NKK = (
            np.stack(found, axis=1).transpose(2, 0, 1) for found in (curvature, response)
        )
        system_NKK = np.eye(self.sources) - MAX_RESPONSE * response_NKK
        variance_NKK = np.linalg.solve(system_NKK, curvature_NKK)
        errors: Array = np.sqrt(np.maximum(np.einsum("nkk->kn", variance_NKK), 0))
        return errors


def _bounded_fractions(q_KN: Array) -> Array:
    q_KN = np.maximum(q_KN, MIN_FRACTION)
    normalised: Array = q_KN / q_KN.sum(0)
    return normalised
