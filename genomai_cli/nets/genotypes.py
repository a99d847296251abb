"""Barcodes as numbers: how many alleles a site shows, and how many of them are the alternate one.

Shape suffixes: B samples, S sites.
"""

import torch
from torch import Tensor, nn

# A barcode with so many called sites and no heterozygote among them is one haplotype, not a person:
# people are heterozygous at about a third of informative sites.
HAPLOID_CALLS = 40


class Genotypes(nn.Module):
    """Looks a barcode's ids up in its panel: ids (B, S) to allele counts.

    The table (S, words) holds the copies of the alternate allele, 0, 1 or 2, that a word means at a
    site, and -1 for a word that means nothing there (missing, masked, a third allele).
    """

    table: Tensor

    def __init__(self, table: Tensor) -> None:
        super().__init__()
        self.register_buffer("table", table.to(torch.int8))

    def forward(self, ids_BS: Tensor) -> Tensor:
        """Copies of the alternate allele (B, S) as int64: 0, 1, 2, or -1 where nothing is known."""
        sites_S = torch.arange(self.table.shape[0], device=ids_BS.device)
        return self.table[sites_S, ids_BS].long()


def is_haploid(copies_BS: Tensor) -> Tensor:
    """Whether each barcode (B,) is a single haplotype: many calls, no heterozygote."""
    calls_B = (copies_BS >= 0).sum(1)
    return ((copies_BS == 1).sum(1) == 0) & (calls_B >= HAPLOID_CALLS)


def allele_counts(copies_BS: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Alternate alleles and all alleles seen at each site, both (B, S).

    A haplotype shows one allele a site, a person two, a missing site none.
    """
    ploidy_B1 = torch.where(is_haploid(copies_BS), 1, 2).unsqueeze(1)
    total_BS = (copies_BS >= 0) * ploidy_B1
    alternate_BS = copies_BS.clamp(min=0) * ploidy_B1 // 2
    return alternate_BS.to(dtype), total_BS.to(dtype)
