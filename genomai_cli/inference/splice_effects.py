"""How a variant changes splicing, as AlphaGenome's scorers have it (Avsec et al. 2026,
doi:10.1038/s41586-025-10014-0, methods, variant scoring): of splice sites and of their usage the largest difference of
a base, of junctions the largest log fold change of the reads.

The two alleles' windows are laid on each other letter by letter. A deleted letter is no site with the other allele; of
inserted letters the likeliest site counts at the letter before them. Junctions are those between the likeliest sites of
either allele, so that they are the same ones with both. Without genes, in whose bodies the paper looks, sites may be
anywhere in the window, and junctions are those that reach over the variant or end close to it.

Shape suffixes: L letters, C tracks along the genome, 4 kinds of sites, S sites of a kind, J junctions, U tissues.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from genomai_cli.formats.bigwig import Values
from genomai_cli.inference.likelihood import Stretch
from genomai_cli.inference.track_readers import (
    Positions,
    Splicing,
    TrackReader,
    require_partners,
)
from genomai_cli.inference.variant_effects import AllelePair, LocatedValues

PSEUDOCOUNT = 1e-7  # reads, added before the logarithm, as the paper's code does
DEFAULT_REACH = (
    128  # letters from a variant at which junctions still count, unless others are asked for
)
COLUMNS_AT_ONCE = 64
DONOR, ACCEPTOR, OTHER_DONOR, OTHER_ACCEPTOR = range(4)
OTHER_STRAND_KINDS = [OTHER_DONOR, OTHER_ACCEPTOR, DONOR, ACCEPTOR]  # the kinds on the other strand
NO_LOCATION, DELETED, OUTSIDE = ".", -1, -2


class SpliceEffects:
    """Of each track of splice sites or usage among `columns` the values of both alleles at the letter where they differ
    most, and of each track of junctions the ln of the reads of the junction whose reads change most.

    With `reach` only sites at most so many letters from a variant count. UsageError for both strands where a track has
    no partner.
    """

    def __init__(
        self,
        reader: TrackReader,
        columns: Sequence[int],
        *,
        both_strands: bool,
        reach: int | None = None,
    ) -> None:
        self.reader, self.both_strands, self.reach = reader, both_strands, reach
        self._along = [column for column in columns if column not in reader.junctions]
        self._tissues = [column for column in columns if column in reader.junctions]
        if both_strands:
            require_partners(reader, self._along)
        heads, tracks = reader.splicing_heads, reader.tracks
        ordered = [*self._along, *self._tissues]
        self.labels = [f"{heads[column]}/{tracks[column].name}" for column in ordered]
        location_kinds = ["distance"] * len(self._along) + ["junction"] * len(self._tissues)
        self.location_names = [
            f"{label}:{kind}" for label, kind in zip(self.labels, location_kinds, strict=True)
        ]
        self._cached_reference: tuple[str, Splicing] | None = None

    @property
    def description(self) -> str:
        """What they are, and how they are read, in words."""
        reach = DEFAULT_REACH if self.reach is None else self.reach
        region = "in the window" if self.reach is None else f"within {reach} of it"
        parts = []
        if self._along:
            parts.append(f"splice sites where they change most {region}")
        if self._tissues:
            parts.append(
                f"the junction that changes most, of those that reach within {reach} of it"
            )
        return ", ".join(parts) + (", mean of both strands" if self.both_strands else "")

    def of(self, pair: AllelePair) -> LocatedValues:
        """The values with either allele, and where they are."""
        ref, alt = self._of_reference(pair.ref), self._read(pair.alt)
        values = [*self._sites(pair, ref, alt), *self._junctions(pair, ref, alt)]
        ref_values, alt_values, locations = zip(*values, strict=True)
        return LocatedValues(np.array(ref_values), np.array(alt_values), locations)

    def _of_reference(self, stretch: Stretch) -> Splicing:
        """Predictions for the reference's allele, cached because alleles in turn often share it."""
        if self._cached_reference is None or self._cached_reference[0] != stretch.text:
            self._cached_reference = None  # before there are two
            self._cached_reference = stretch.text, self._read(stretch)
        return self._cached_reference[1]

    def _read(self, stretch: Stretch) -> Splicing:
        """One strand's, or the mean of both."""
        forward = self.reader.splicing(stretch.text, self._along, self._tissues)
        if not self.both_strands:
            return forward
        partner_columns = [self.reader.partners[column] for column in self._along]
        backward = self.reader.splicing(stretch.other_strand.text, partner_columns, self._tissues)
        size = len(stretch.text)

        def counts(positions_4S: Positions) -> Values:
            mirrored_4S = np.where(positions_4S < 0, positions_4S, size - 1 - positions_4S)[
                OTHER_STRAND_KINDS
            ]
            return _mean(forward.counts(positions_4S), backward.counts(mirrored_4S)[:, :, ::-1])

        sites_L4 = forward.sites
        if sites_L4.shape[1]:
            sites_L4 = _mean(sites_L4, backward.sites[::-1, OTHER_STRAND_KINDS])
        return Splicing(sites_L4, _mean(forward.values, backward.values[::-1]), counts)

    def _sites(self, pair: AllelePair, ref: Splicing, alt: Splicing) -> Iterator["_AlleleValues"]:
        """Of each track the letter with the largest difference; nowhere if none differs, as of ALT equal to REF."""
        first, last = 0, len(pair.ref.text)
        if self.reach is not None:
            first, last = _nearby_letters(pair, self.reach, last)
        for begin in range(0, len(self._along), COLUMNS_AT_ONCE):
            chunk = slice(begin, begin + COLUMNS_AT_ONCE)
            ref_LC, alt_LC = ref.values[:, chunk], aligned_to_reference(alt.values[:, chunk], pair)
            change_LC = np.nan_to_num(np.abs(alt_LC - ref_LC)[first:last], nan=-1.0)
            for column, largest in enumerate(change_LC.argmax(axis=0).tolist()):
                differ = change_LC[largest, column] > 0
                letter = first + largest if differ else max(0, pair.ref_at)
                location = str(_distance(pair, letter)) if differ else NO_LOCATION
                yield _AlleleValues(ref_LC[letter, column], alt_LC[letter, column], location)

    def _junctions(
        self, pair: AllelePair, ref: Splicing, alt: Splicing
    ) -> Iterator["_AlleleValues"]:
        """Of each tissue the junction with the largest log fold change; none where no two sites are likely enough."""
        if not self._tissues:
            return
        sites_4S = self._common_sites(pair, ref, alt)
        alt_sites_4S = _sites_on_alternate(pair, sites_4S, alt.sites)
        first_J, second_J, strand_J = _pairs(sites_4S)
        ref_JU, alt_JU = (
            counts[first_J, second_J, strand_J]
            for counts in (ref.counts(sites_4S), alt.counts(alt_sites_4S))
        )
        donors_J, acceptors_J = (2 * strand_J, first_J), (2 * strand_J + 1, second_J)
        alt_JU[(alt_sites_4S[donors_J] < 0) | (alt_sites_4S[acceptors_J] < 0)] = 0
        ref_JU, alt_JU = (
            np.log(counts_JU.astype(np.float64) + PSEUDOCOUNT) for counts_JU in (ref_JU, alt_JU)
        )
        for tissue in range(len(self._tissues)):
            if not len(first_J):
                yield _AlleleValues(np.nan, np.nan, NO_LOCATION)
                continue
            change_J = np.abs(alt_JU[:, tissue] - ref_JU[:, tissue])
            junction = int(change_J.argmax())
            if not change_J[junction] > 0:
                yield _AlleleValues(ref_JU[junction, tissue], alt_JU[junction, tissue], NO_LOCATION)
                continue
            donor_acceptor = sites_4S[donors_J][junction], sites_4S[acceptors_J][junction]
            strand = "+-"[strand_J[junction]]
            intron = f"{pair.begin + min(donor_acceptor) + 2}-{pair.begin + max(donor_acceptor)}:{strand}"
            yield _AlleleValues(ref_JU[junction, tissue], alt_JU[junction, tissue], intron)

    def _common_sites(self, pair: AllelePair, ref: Splicing, alt: Splicing) -> Positions:
        """The letters (4, S) of the reference's window that are likely sites with either allele, and can be the ends of
        junctions that count; -1 where there are fewer."""
        sites_4S = self.reader.likely_sites(
            np.fmax(ref.sites, aligned_to_reference(alt.sites, pair))
        )
        in_both_4S = _sites_on_alternate(pair, sites_4S, alt.sites) != OUTSIDE
        reach = DEFAULT_REACH if self.reach is None else self.reach
        first, last = _nearby_letters(pair, reach, len(pair.ref.text))
        before_4S, after_4S = sites_4S < last, sites_4S >= first
        counted = np.stack([before_4S[0], after_4S[1], after_4S[2], before_4S[3]])
        counted &= in_both_4S & (sites_4S >= 0)
        max_sites = max(1, int(counted.sum(axis=1).max()))
        common_4S = np.full((4, max_sites), DELETED)
        for kind, row in enumerate(counted):
            common_4S[kind, : row.sum()] = sites_4S[kind, row]
        return common_4S


class _AlleleValues(NamedTuple):
    """A value with either allele, and its location."""

    ref: float
    alt: float
    location: str


def _mean(forward: Values, backward: Values) -> Values:
    """In single precision."""
    return (forward + backward) * np.float32(0.5)


def aligned_to_reference(alt_LC: Values, pair: AllelePair) -> Values:
    """The other allele's values (L, C) at the letters of the reference's window: 0 at deleted letters, at the letter
    before inserted ones the largest of all these; NaN where the other window does not reach."""
    alt_index_L = _alternate_indices(pair)
    aligned_LC = np.where(
        alt_index_L[:, None] >= 0, alt_LC[np.maximum(alt_index_L, 0)], np.float32(0)
    )
    aligned_LC[alt_index_L == OUTSIDE] = np.nan
    anchor, inserted = _inserted(pair)
    if inserted:
        aligned_LC[anchor] = alt_LC[inserted].max(axis=0)
    return aligned_LC


def _alternate_indices(pair: AllelePair) -> Positions:
    """Where (L,) each letter of the reference's window is in the other."""
    size, change = len(pair.ref.text), pair.change
    alt_index_L = np.arange(size) - pair.ref_at + pair.alt_at
    end = pair.ref_at + len(change.ref)
    alt_index_L[end:] += len(change.alt) - len(change.ref)
    alt_index_L[pair.ref_at + len(change.alt) : end] = DELETED
    alt_index_L[alt_index_L >= len(pair.alt.text)] = OUTSIDE
    before_change = alt_index_L[: pair.ref_at]
    before_change[before_change < 0] = OUTSIDE
    return alt_index_L


def _inserted(pair: AllelePair) -> tuple[int, list[int]]:
    """The letter of the reference's window at which inserted ones count, and it and they in the other's; none of a
    change that inserts nothing."""
    lengths = len(pair.change.ref), len(pair.change.alt)
    anchor = max(0, pair.ref_at + lengths[0] - 1)
    if lengths[0] >= lengths[1]:
        return anchor, []
    first = pair.alt_at + lengths[0] - 1
    letters = range(max(0, first), pair.alt_at + lengths[1] + (first < 0))
    return anchor, list(letters)


def _sites_on_alternate(pair: AllelePair, sites_4S: Positions, alt_L4: Values) -> Positions:
    """The letters (4, S) of the other window that sites of the reference's are, where inserted ones count for one the
    likeliest; negative where there is none."""
    alt_index_L = _alternate_indices(pair)
    alternate_4S = np.where(sites_4S < 0, DELETED, alt_index_L[np.maximum(sites_4S, 0)])
    anchor, inserted = _inserted(pair)
    for kind in range(4) if inserted else ():
        likeliest = inserted[int(alt_L4[inserted, kind].argmax())]
        alternate_4S[kind, sites_4S[kind] == anchor] = likeliest
    return alternate_4S


def _pairs(sites_4S: Positions) -> tuple[Positions, Positions, Positions]:
    """The junctions (J,) of sites: the number of the donor, of the acceptor, and 0 or 1 for the strand; introns have at
    least a letter."""
    junctions = []
    for strand in (0, 1):
        donor_S1, acceptor_1S = sites_4S[2 * strand][:, None], sites_4S[2 * strand + 1][None]
        intron_length = acceptor_1S - donor_S1 if strand == 0 else donor_S1 - acceptor_1S
        first, second = np.nonzero((donor_S1 >= 0) & (acceptor_1S >= 0) & (intron_length > 1))
        junctions.append((first, second, np.full(len(first), strand)))
    first_J, second_J, strand_J = (np.concatenate(parts) for parts in zip(*junctions, strict=True))
    return first_J, second_J, strand_J


def _nearby_letters(pair: AllelePair, reach: int, size: int) -> tuple[int, int]:
    """From where to where letters of the reference's window are at most so far from the change; of an insertion, those
    beside it are at no distance."""
    margin = reach if pair.change.ref else max(reach, 1)
    return max(0, pair.ref_at - margin), min(size, pair.ref_at + len(pair.change.ref) + margin)


def _distance(pair: AllelePair, letter: int) -> int:
    """How far a letter of the reference's window is from the change, negative before it; 0 in it."""
    last = pair.ref_at + max(1, len(pair.change.ref)) - 1
    return letter - pair.ref_at if letter < pair.ref_at else max(0, letter - last)
