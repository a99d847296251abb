"""The filters of StripedHyena's convolutions, each with its state from the tokens before the first.

An `ExplicitFilter` is stored tap by tap and shared by groups of channels; those of 128 taps and more are convolved and
have a direct term, shorter ones are cross-correlated and have none, as in the released code. A `ModalFilter` is a sum
of exponentials, h_t = sum_n residue_n pole_n^t, which is a recurrence as well: x <- pole x + u, y = sum_n residue_n x_n
(Massaroli et al. 2023, arXiv:2310.18780). The past of a block of tokens is in the state x, so that a sequence cut
anywhere gives the same output. Powers are computed in double precision where there is one, since t may be large.

Shape suffixes: B sequences, D channels, T tokens, K taps, N modes, A times in a stride, M strides.
"""

import torch
from torch import Tensor, nn

from genomai_cli.backbones.convolutions import convolve, correlate, last_tokens
from genomai_cli.device import exact_precision

MIN_CONVOLVED_TAPS = 128  # shorter filters are cross-correlated
MAX_CORRELATED_TOKENS = 32  # for which sums are faster than FFTs
STRIDE = 64  # of times: pole^(a + 64 m) = pole^a pole^(64 m)


class ExplicitFilter(nn.Module):
    """A filter of so many taps a group of channels; its state are the last tokens but one filter's length."""

    def __init__(self, width: int, groups: int, taps: int) -> None:
        super().__init__()
        self.repeats, self.count = width // groups, taps
        self.taps = nn.Parameter(torch.empty(groups, 1, taps))
        self.direct = nn.Parameter(torch.empty(width)) if taps >= MIN_CONVOLVED_TAPS else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Fresh values, which leave the size of unrelated inputs as it is."""
        nn.init.normal_(self.taps, std=self.count**-0.5)
        if self.direct is not None:
            nn.init.zeros_(self.direct)

    def forward(
        self, u_BDT: Tensor, past: Tensor | None, keep_state: bool
    ) -> tuple[Tensor, Tensor | None]:
        """The filtered tokens (B, D, T), and with `keep_state` the state behind them."""
        taps_DK = self.taps[:, 0].repeat_interleave(self.repeats, 0)
        if self.direct is None:
            y_BDT = correlate(u_BDT, taps_DK, past)
        elif u_BDT.shape[2] <= MAX_CORRELATED_TOKENS:
            y_BDT = correlate(u_BDT, taps_DK.flip(1), past) + self.direct.unsqueeze(1) * u_BDT
        else:
            extended_BDT = u_BDT if past is None else torch.cat([past, u_BDT], dim=2)
            y_BDT = convolve(extended_BDT, taps_DK)[..., -u_BDT.shape[2] :]
            y_BDT = y_BDT + self.direct.unsqueeze(1) * u_BDT
        return y_BDT, last_tokens(u_BDT, self.count - 1, past) if keep_state else None


class ModalFilter(nn.Module):
    """A filter of `modes` exponentials for each of `systems` groups of channels; its state is x (B, D, N).

    Real poles are stored as their logarithms, complex ones as real and imaginary part.
    """

    def __init__(self, width: int, systems: int, modes: int, complex_poles: bool) -> None:
        super().__init__()
        self.repeats, self.complex_poles = width // systems, complex_poles
        if complex_poles:
            self.poles = nn.Parameter(torch.empty(systems, modes, 1, 2))
            self.residues = nn.Parameter(torch.empty(systems, modes, 1, 2))
        else:
            self.log_poles = nn.Parameter(torch.empty(systems, modes, 1))
            self.residues = nn.Parameter(torch.empty(systems, modes))
        self.direct = nn.Parameter(torch.empty(width))
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Fresh values: memories of 1 to 1,000 tokens, which leave the size of unrelated inputs as it is."""
        systems, modes = self.residues.shape[:2]
        decay_N = -torch.logspace(-3, 0, modes, device=self.residues.device)
        gain_N = ((1 - (2 * decay_N).exp()) / modes).sqrt()
        nn.init.zeros_(self.direct)
        nn.init.normal_(self.residues)
        if self.complex_poles:
            angle_SN = torch.rand(systems, modes, device=self.residues.device) * torch.pi
            poles_SN = torch.polar(decay_N.exp().expand_as(angle_SN).contiguous(), angle_SN)
            self.poles.copy_(torch.view_as_real(poles_SN).unsqueeze(2))
            self.residues.mul_(gain_N[:, None, None])
        else:
            self.log_poles.copy_(decay_N.unsqueeze(1).expand(systems, modes, 1))
            self.residues.mul_(gain_N)

    def forward(
        self, u_BDT: Tensor, state_BDN: Tensor | None, keep_state: bool
    ) -> tuple[Tensor, Tensor | None]:
        """The filtered tokens (B, D, T), and with `keep_state` the state behind them."""
        if u_BDT.shape[2] == 1:
            return self._step(u_BDT, state_BDN)
        y_BDT = convolve(u_BDT, self.taps(u_BDT.shape[2])) + self.direct.unsqueeze(1) * u_BDT
        if state_BDN is not None:
            y_BDT = y_BDT + self._state_response(state_BDN, u_BDT.shape[2]).to(u_BDT.dtype)
        return y_BDT, self._next_state(u_BDT, state_BDN) if keep_state else None

    def taps(self, tokens: int) -> Tensor:
        """The filter's first values (D, tokens), in double precision where there is one."""
        near_DNA, far_DNM = self._powers(tokens)
        taps_DMA = _real_product(far_DNM, self._residues().unsqueeze(2) * near_DNA)
        return taps_DMA.flatten(1)[:, :tokens]

    def _step(self, u_BD1: Tensor, state_BDN: Tensor | None) -> tuple[Tensor, Tensor]:
        """One token by the recurrence."""
        residues_DN = self._residues()
        input_BD1 = u_BD1.to(residues_DN.dtype)
        if state_BDN is None:
            state_BDN = input_BD1.expand(-1, -1, residues_DN.shape[1])
        else:
            state_BDN = self._power(torch.ones(1))[..., 0] * state_BDN + input_BD1
        y_BD = (residues_DN * state_BDN).sum(2).real.to(u_BD1.dtype)
        return y_BD.unsqueeze(2) + self.direct.unsqueeze(1) * u_BD1, state_BDN

    def _state_response(self, state_BDN: Tensor, tokens: int) -> Tensor:
        """The contribution (B, D, tokens) of the past to the output."""
        near_DNA, far_DNM = self._powers(tokens)
        initial_BDN = state_BDN * self._residues() * self._power(torch.ones(1))[..., 0]
        added_BDMA = _real_product(initial_BDN.unsqueeze(3) * far_DNM, near_DNA)
        return added_BDMA.flatten(2)[..., :tokens]

    def _next_state(self, u_BDT: Tensor, state_BDN: Tensor | None) -> Tensor:
        """The state behind the tokens: sum_t pole^(T-1-t) u_t, and pole^T times the state before them."""
        tokens = u_BDT.shape[2]
        near_DNA, far_DNM = self._powers(tokens)
        padding = far_DNM.shape[2] * STRIDE - tokens
        reversed_BDT = nn.functional.pad(u_BDT.flip(2).to(near_DNA.real.dtype), (0, padding))
        reversed_BDMA = reversed_BDT.reshape(*reversed_BDT.shape[:2], -1, STRIDE)
        near_BDNM = near_DNA.real @ reversed_BDMA.transpose(2, 3)
        if self.complex_poles:
            near_BDNM = torch.complex(near_BDNM, near_DNA.imag @ reversed_BDMA.transpose(2, 3))
        next_BDN: Tensor = (near_BDNM * far_DNM).sum(3)
        if state_BDN is not None:
            next_BDN = next_BDN + self._power(torch.tensor([float(tokens)]))[..., 0] * state_BDN
        return next_BDN

    def _powers(self, tokens: int) -> tuple[Tensor, Tensor]:
        """The poles to the powers (D, N, A) of the times in a stride, and (D, N, M) to those of strides."""
        strides = -(-tokens // STRIDE)
        near_A, far_M = torch.arange(float(STRIDE)), torch.arange(float(strides)) * STRIDE
        return self._power(near_A), self._power(far_M)

    def _power(self, times: Tensor) -> Tensor:
        """The poles to these powers: (D, N, times)."""
        dtype = exact_precision(self.residues.device)
        times = times.to(self.residues.device, dtype)
        if self.complex_poles:
            powers = torch.view_as_complex(self.poles.to(dtype)) ** times
        else:
            powers = (self.log_poles.to(dtype) * times).exp()
        return powers.repeat_interleave(self.repeats, 0)

    def _residues(self) -> Tensor:
        """(D, N)."""
        residues_DN = self.residues.to(exact_precision(self.residues.device))
        if self.complex_poles:
            residues_DN = torch.view_as_complex(residues_DN)[..., 0]
        return residues_DN.repeat_interleave(self.repeats, 0)


def _real_product(left_NM: Tensor, right_NA: Tensor) -> Tensor:
    """The real part of the sum over modes, (..., M, A)."""
    if not left_NM.is_complex():
        return left_NM.transpose(-2, -1) @ right_NA
    real = left_NM.real.transpose(-2, -1) @ right_NA.real
    return real - left_NM.imag.transpose(-2, -1) @ right_NA.imag
