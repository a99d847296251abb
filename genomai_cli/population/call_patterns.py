"""Patterns of a sample's calls that show how they came about: one haplotype, or calls chosen by genotype."""

from typing import Any

# A barcode with so many called sites and no heterozygote among them is one haplotype, not a person:
# people are heterozygous at about a third of informative sites.
HAPLOID_CALLS = 40
# With fewer, people without a homozygous reference call are not rare enough anywhere.
SELECTED_CALLS = 20
# Of further calls: sites whose reference base differs between builds, and errors.
MAX_REFERENCE_SHARE = 0.05
VARIANTS_ONLY = "VARIANTS_ONLY"


def lacks_reference(reference: Any, calls: Any) -> Any:
    """Whether next to no call is homozygous for the reference, from counts: integers, or arrays or tensors of them.

    People are at 29 % or more of 967 ancestry-informative sites, and at three quarters of exome sites.
    """
    return (calls >= SELECTED_CALLS) & (reference <= MAX_REFERENCE_SHARE * (calls - SELECTED_CALLS))
