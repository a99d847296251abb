"""Phase across a chromosome: heterozygotes of different phase sets (FORMAT/PS) have no known phase to one another.

Phasing by reads (WhatsHap, long reads) gives many sets a chromosome. Of each sample the set with most heterozygotes
keeps its phase, since with it most is known; those of other sets count as not phased.
"""

from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby

import numpy as np

from genomai_cli.formats.bit_planes import PackedVariant
from genomai_cli.formats.vcf import Variant

# PSL has one for each allele (VCF 4.4); PID is GATK's former name.
_KEYS = "PS", "PSL", "PID"
_NO_SET = b"."
_Sets = dict[int, bytes]  # of the samples with a phased heterozygote, the set that it is of


@dataclass(eq=False)
class PhaseSplits:
    """How many heterozygotes lie outside their sample's largest phase set, and of which samples, by number."""

    calls: int = 0
    samples: set[int] = field(default_factory=set)

    def __str__(self) -> str:
        return (
            f"{self.calls} heterozygous calls of {len(self.samples)} samples are of other phase sets (PS) than the "
            "largest of their chromosome, so it is not known which haplotype has which allele"
        )


def in_largest_sets(records: Iterable[Variant], splits: PhaseSplits) -> Iterator[Variant]:
    """The records, read with their fields, without these; heterozygotes outside the largest sets are not `phased`.

    Those of a chromosome are held at once, in bits. `splits` counts what changed.
    """
    for _, group in groupby(records, key=lambda variant: variant.contig):
        waiting = deque((PackedVariant.of(variant), _named_sets_of(variant)) for variant in group)
        if all(sets is None for _, sets in waiting):
            while waiting:
                yield waiting.popleft()[0].variant()
            continue
        sizes: dict[int, Counter[bytes]] = {}
        for packed, sets in waiting:
            for sample, name in (sets or _sets_of(packed.variant())).items():
                sizes.setdefault(sample, Counter())[name] += 1
        largest = {sample: counts.most_common(1)[0][0] for sample, counts in sizes.items()}
        while waiting:
            packed, sets = waiting.popleft()
            variant = packed.variant()
            sets = sets or _sets_of(variant)
            outside = [sample for sample, name in sets.items() if name != largest[sample]]
            splits.calls += len(outside)
            splits.samples.update(outside)
            yield _unphased(variant, outside) if outside else variant


def _named_sets_of(variant: Variant) -> _Sets | None:
    """The sets by the names that the record gives; None where it names none."""
    fields = variant.fields
    columns = [] if fields is None else [fields.texts(key) for key in _KEYS]
    named = [column for column in columns if column is not None]
    return _sets_of(variant, named) if named else None


def _sets_of(variant: Variant, columns: Sequence[Sequence[bytes]] = ()) -> _Sets:
    """The sets by the first of these columns that has one of the sample: those of merged files have different ones."""
    first, second = variant.genotypes[:, 0], variant.genotypes[:, 1]
    phased = np.flatnonzero(variant.phased & (first >= 0) & (second >= 0) & (first != second))
    return {
        sample: next((c[sample] for c in columns if c[sample] != _NO_SET), _NO_SET)
        for sample in phased.tolist()
    }


def _unphased(variant: Variant, samples: list[int]) -> Variant:
    phased = variant.phased.copy()
    phased[samples] = False
    return replace(variant, phased=phased)
