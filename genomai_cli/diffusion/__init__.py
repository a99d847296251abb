"""Discrete diffusion: how tokens are noised little by little, what that makes of a loss, and the way back."""

from genomai_cli.diffusion.absorbing import Absorbing
from genomai_cli.diffusion.kernel import Kernel
from genomai_cli.diffusion.uniform import Uniform

KERNELS: dict[str, Kernel] = {kernel.name: kernel for kernel in (Absorbing(), Uniform())}
__all__ = ["KERNELS", "Kernel"]
