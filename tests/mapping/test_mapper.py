"""Mapping: any rotation and strand, unknown letters, insertions and deletions, parts, copies; what is refused."""

import numpy as np
import pytest
from conftest import SHARED, needs_shared
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from genomai_cli.alphabet import codes_of, reverse_complement_codes
from genomai_cli.errors import InputError
from genomai_cli.formats.fasta import read_sequences
from genomai_cli.formats.streams import open_input
from genomai_cli.mapping import alignment
from genomai_cli.mapping.mapper import Mapper
from genomai_cli.mapping.reference import Reference
from genomai_cli.mapping.seeding import KmerIndex, best_chain, segments_of

RCRS = SHARED / "data" / "mito" / "rCRS.fa"
GENOMES = SHARED / "data" / "1kgp" / "mt.train.fa.gz"
SIZE = 2000
COMPLEMENT = str.maketrans("ACGTN", "TGCAN")


def random_sequence(rng, size):
    return "".join(rng.choice(list("ACGT"), size))


REFERENCE = Reference("toy", random_sequence(np.random.default_rng(5), SIZE), circular=True)
LINEAR = Reference("toy", REFERENCE.sequence, circular=False)
MAPPER = Mapper(REFERENCE)


def reverse_complement(sequence):
    return sequence.translate(COMPLEMENT)[::-1]


def rotated(sequence, offset):
    offset %= max(1, len(sequence))
    return sequence[offset:] + sequence[:offset]


def text(mapped):
    return mapped.letters.tobytes().decode()


def substituted(rng, sequence, share):
    """The sequence with other bases at about this share of its positions."""
    is_substituted = rng.random(len(sequence)) < share
    other = {"A": "CGT", "C": "AGT", "G": "ACT", "T": "ACG"}
    return "".join(
        str(rng.choice(list(other[x]))) if hit else x
        for x, hit in zip(sequence, is_substituted, strict=True)
    )


def masked(sequence, start, size):
    """The sequence with a run of N."""
    return sequence[:start] + "N" * len(sequence[start : start + size]) + sequence[start + size :]


seeds = st.integers(0, 2**32 - 1)
rotations = st.integers(0, SIZE - 1)


@settings(max_examples=60, deadline=None)
@given(seeds, rotations, st.booleans(), st.integers(0, SIZE - 1), st.integers(0, 600))
def test_a_genome_with_substitutions_comes_back_letter_for_letter(
    seed, rotation, reverse, start, size
):
    rng = np.random.default_rng(seed)
    genome = masked(substituted(rng, REFERENCE.sequence, 0.01), start, size)
    query = rotated(genome, rotation)
    mapped = MAPPER(reverse_complement(query) if reverse else query)
    assert text(mapped) == genome
    assert (mapped.inserted, mapped.deleted, mapped.clipped) == (0, 0, 0)
    assert mapped.aligned == SIZE - genome.count("N")
    assert mapped.differences == sum(
        a != b for a, b in zip(genome, REFERENCE.sequence, strict=True) if a != "N"
    )
    if not mapped.in_place:  # a few substitutions beside the cut can look like a gap there
        assert mapped.strand == ("-" if reverse else "+")


def edited(rng, sequence, edits):
    """The sequence with insertions and deletions, and its letters at the reference's positions."""
    segments, end = [], 0
    for position in np.sort(rng.choice(np.arange(40, SIZE - 40, 80), edits, replace=False)):
        size = int(rng.integers(1, 13))
        segments.append(sequence[end:position])
        end = int(position)
        if rng.random() < 0.5:
            segments.append(random_sequence(rng, size))
        else:
            end += size
    return "".join([*segments, sequence[end:]])


@settings(max_examples=60, deadline=None)
@given(seeds, rotations, st.booleans(), st.integers(1, 6))
def test_insertions_and_deletions_stand_in_one_place_however_the_record_was_cut(
    seed, rotation, reverse, edits
):
    rng = np.random.default_rng(seed)
    genome = edited(rng, substituted(rng, REFERENCE.sequence, 0.005), edits)
    unrotated = MAPPER(genome)
    query = rotated(genome, rotation)
    mapped = MAPPER(reverse_complement(query) if reverse else query)
    assert text(mapped) == text(unrotated)
    assert mapped.insertions == unrotated.insertions
    assert mapped.inserted - mapped.deleted == len(genome) - SIZE
    assert mapped.identity > 0.97


@settings(max_examples=60, deadline=None)
@given(seeds, rotations, st.booleans(), st.integers(150, 1500), st.booleans())
def test_a_part_of_a_genome_says_the_same_where_it_says_something(
    seed, offset, reverse, size, is_linear
):
    rng = np.random.default_rng(seed)
    genome = substituted(rng, REFERENCE.sequence, 0.01)
    part = genome[offset : offset + size] if is_linear else rotated(genome, offset)[:size]
    assume(len(part) >= 120)
    mapped = MAPPER(reverse_complement(part) if reverse else part)
    letters = np.frombuffer(genome.encode(), np.uint8)
    known = mapped.letters != ord("N")
    assert (mapped.letters[known] == letters[known]).all()
    assert len(part) - 12 <= mapped.aligned <= len(part)  # a substitution near an end is cut off
    assert mapped.start == offset
    linear = Mapper(LINEAR)(part)
    if offset + size <= SIZE:
        assert text(linear) == text(mapped)


@pytest.mark.parametrize("copies", [1.2, 2, 2.6])
@pytest.mark.parametrize("rotation", [0, 700])
def test_of_several_copies_the_first_counts(copies, rotation):
    rng = np.random.default_rng(1)
    genome = substituted(rng, REFERENCE.sequence, 0.01)
    mapped = MAPPER((rotated(genome, rotation) * 3)[: int(copies * SIZE)])
    assert text(mapped) == genome
    assert (mapped.clipped, mapped.inserted, mapped.deleted) == (0, 0, 0)


def test_ends_that_overlap_a_little_are_an_insertion():
    genome = REFERENCE.sequence
    mapped = MAPPER(rotated(genome, 300) + genome[300:320])
    assert text(mapped) == genome
    assert mapped.inserted == 20


def test_foreign_ends_are_left_out():
    rng = np.random.default_rng(2)
    part = REFERENCE.sequence[500:1200]
    mapped = MAPPER(random_sequence(rng, 300) + part + random_sequence(rng, 300))
    known = np.flatnonzero(mapped.letters != ord("N"))
    assert abs(known[0] - 500) < 10
    assert abs(known[-1] - 1199) < 10
    assert 580 < mapped.clipped < 620
    full = MAPPER(
        random_sequence(rng, 300) + rotated(REFERENCE.sequence, 800) + random_sequence(rng, 300)
    )
    assert text(full) == REFERENCE.sequence
    assert 590 <= full.clipped <= 600  # a letter may fit by chance


def test_a_large_deletion_leaves_unknown_letters():
    genome = REFERENCE.sequence
    mapped = MAPPER(rotated(genome[:600] + genome[1100:], 200))
    missing = np.flatnonzero(mapped.letters == ord("N"))
    assert mapped.deleted == len(missing) == 500
    assert abs(missing[0] - 600) < 5


def test_a_linear_reference_has_no_letters_before_its_first():
    linear = Mapper(LINEAR)
    wrapped = linear(rotated(LINEAR.sequence, 500))
    known = np.flatnonzero(wrapped.letters != ord("N"))
    assert (known[0], known[-1]) == (500, SIZE - 1)
    flanked = linear(random_sequence(np.random.default_rng(3), 200) + LINEAR.sequence)
    assert text(flanked) == LINEAR.sequence
    assert flanked.start == -200


@pytest.mark.parametrize("size", [0, 1, 30, 100, 1000, SIZE, 9000])
def test_random_dna_does_not_belong(size):
    assert MAPPER(random_sequence(np.random.default_rng(size), size)) is None


@pytest.mark.parametrize("size", [1, 50, SIZE + 1])
def test_unknown_letters_alone_do_not_belong(size):
    assert MAPPER("N" * size) is None


@pytest.mark.parametrize("share", [0.03, 0.09, 0.15])
def test_another_species_is_mapped_with_its_identity(share):
    genome = substituted(np.random.default_rng(4), REFERENCE.sequence, share)
    for query in (rotated(genome, 900), reverse_complement(genome)):
        mapped = MAPPER(query)
        assert mapped.identity == pytest.approx(1 - share, abs=0.02)
        assert (mapped.letters == np.frombuffer(genome.encode(), np.uint8)).mean() > 0.98


def test_a_genome_of_sparse_letters_is_read_in_place():
    rng = np.random.default_rng(6)
    genome = np.array(list(substituted(rng, REFERENCE.sequence, 0.01)))
    genome[rng.random(SIZE) < 0.6] = "N"
    assert text(MAPPER("".join(genome))) == "".join(genome)
    # As from a VCF that lists nothing but what differs.
    variants_only = np.full(SIZE, "N")
    variants_only[::100] = [
        {"A": "G", "G": "A", "C": "T", "T": "C"}[x] for x in REFERENCE.sequence[::100]
    ]
    mapped = MAPPER("".join(variants_only))
    assert text(mapped) == "".join(variants_only)
    assert mapped.identity == 0.99


def test_other_letters_are_unknown():
    query = REFERENCE.sequence[:700] + "RYKM" + REFERENCE.sequence[704:]
    assert text(MAPPER(query)) == masked(REFERENCE.sequence, 700, 4)


C_RUNS = "GATTACAGT" * 3 + "CCCCCCCTCCCCCGC"  # positions 303 to 317 of rCRS


@pytest.mark.parametrize("rotation", [0, 28, 33, 60])
def test_insertions_in_two_runs_are_two(rotation):
    rng = np.random.default_rng(7)
    before, after = random_sequence(rng, 200), random_sequence(rng, 200)
    mapper = Mapper(Reference("runs", before + C_RUNS + after, circular=True))
    query = before + C_RUNS.replace("CCCCCCCTCCCCCG", "CCCCCCCCTCCCCCCG") + after
    first = len(before) + C_RUNS.index("TCCCCCG") - 1
    for sequence in (rotated(query, 200 + rotation), reverse_complement(rotated(query, rotation))):
        assert mapper(sequence).insertions == ((first, "C"), (first + 6, "C"))


def test_a_deleted_repeat_is_missing_at_its_end():
    rng = np.random.default_rng(8)
    before, after = random_sequence(rng, 200) + "A", "G" + random_sequence(rng, 200)
    mapper = Mapper(Reference("repeat", before + "CCCCCTCTA" * 2 + after, circular=True))
    deleted = before + "CCCCCTCTA" + after
    for query in (deleted, rotated(deleted, 205), reverse_complement(rotated(deleted, 20))):
        assert text(mapper(query)) == before + "CCCCCTCTA" + "N" * 9 + after


def test_the_letter_that_the_reference_does_not_know_is_the_one_deleted():
    rng = np.random.default_rng(9)
    before, after = random_sequence(rng, 200) + "C", "TTC" + random_sequence(rng, 200)
    mapper = Mapper(Reference("n", before + "N" + after, circular=True))
    assert text(mapper(rotated(before + after, 100))) == before + "N" + after


def test_the_alignment_between_anchors_is_the_cheapest():
    query, reference = (codes_of(np.frombuffer(x, np.uint8)) for x in (b"ACGTT", b"ACGGTT"))
    blocks = alignment.joined_blocks(alignment.align_between(query, reference))
    assert sum(length for *_, length in blocks) == 5
    moved = alignment.right_align_gaps(blocks, query, reference)
    assert moved == [(0, 0, 3), (3, 4, 2)]


def test_a_stray_hit_is_no_part_of_the_chain():
    segments = np.array([[0, 100, 300], [310, 1500, 16], [330, 430, 300]])
    assert best_chain(segments, None).tolist() == [[0, 100, 300], [330, 430, 300]]


def test_a_chain_goes_around_a_circle():
    segments = np.array([[0, 900, 100], [100, 0, 100]])
    assert best_chain(segments, 1000).tolist() == [[0, 900, 100], [100, 1000, 100]]


def test_segments_that_overlap_are_cut():
    segments = np.array([[0, 0, 50], [40, 50, 60]])
    assert best_chain(segments, None).tolist() == [[0, 0, 50], [50, 60, 50]]


def test_only_unique_kmers_are_hits():
    codes = codes_of(np.frombuffer(b"ACGTACGTTTGCA", np.uint8))
    index = KmerIndex.of(codes, 4, circular=False)
    query, reference = index.hits(codes)
    assert (query == reference).all()
    assert set(query) == {1, 2, 3, 5, 6, 7, 8, 9}  # ACGT stands at 0 and 4
    assert segments_of(query, reference, 4, None).tolist() == [[1, 1, 12]]


def test_the_reverse_complement_of_codes():
    codes = codes_of(np.frombuffer(b"ACGTNa", np.uint8))
    assert reverse_complement_codes(codes).tolist() == [3, 4, 0, 1, 2, 3]


@pytest.mark.parametrize("circular", [True, False])
def test_a_reference_is_written_and_read(tmp_path, circular):
    reference = Reference("one", "ACGTN" * 40, circular)
    reference.write(tmp_path / "reference.fa")
    assert Reference.read(tmp_path / "reference.fa") == reference
    assert Reference.read(tmp_path / "reference.fa", circular=not circular) != reference
    assert (
        (tmp_path / "reference.fa")
        .read_text()
        .startswith(f">one circular={str(circular).lower()}\n")
    )
    assert reference.sha256 == Reference("two", "ACGTN" * 40, not circular).sha256


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (">a\nACGT\n>b\nAC\n", "ref.fa:3: a second record (b), where a reference is one"),
        (">a circular=maybe\nACGT\n", "ref.fa:1: circular=maybe, where true or false is needed"),
        (">a\n", "ref.fa:1: the reference has no letters"),
        ("@a\nACGT\n+\nIIII\n", "ref.fa: FASTQ, where FASTA is needed"),
    ],
)
def test_what_is_no_reference_is_refused(tmp_path, content, message):
    path = tmp_path / "ref.fa"
    path.write_text(content)
    with pytest.raises(InputError) as error:
        Reference.read(path)
    assert str(error.value).endswith(message)


# --- genomes of a mitochondrion's size ---------------------------------------------------------------

LENGTH = 16_569
GAP = 3106  # where the reference has an N, as rCRS does at 3107, with its neighbours
RUNS = "CCCCCCCTCCCCCGC"  # as at 303 to 317 of rCRS
REPEAT = "CCCCCTCTA"  # twice, as at 8272 of rCRS


def mitochondrion():
    """A made-up circle of the length of rCRS, with its three regions that are hard to align."""
    letters = random_sequence(np.random.default_rng(20), LENGTH)
    parts = [letters[:301], "A", RUNS, "A", letters[318 : GAP - 1], "CNTTC"]
    parts.append(letters[GAP + 4 : 8270])
    sequence = "".join([*parts, "A", REPEAT * 2, "G"])
    return sequence + letters[len(sequence) :]


def individual(rng):
    """A genome with forty transitions and a gap, which no other alignment explains as well.

    It lies away from the transitions, and cannot begin a letter further on.
    """
    reference = MITOCHONDRION.sequence
    letters = list(reference)
    for position in rng.choice(LENGTH, 40, replace=False):
        letters[position] = {"A": "G", "G": "A", "C": "T", "T": "C", "N": "N"}[letters[position]]
    size, starts = int(rng.integers(1, 13)), rng.integers(50, LENGTH - 100, 100)
    start = next(s for s in starts.tolist() if is_isolated(reference, letters, s, s + size))
    letters[start : start + size] = "N" * size
    return "".join(letters)


def is_isolated(reference, letters, start, end):
    flanked = slice(start - 30, end + 30)
    unchanged = "".join(letters[flanked]) == reference[flanked]
    return unchanged and reference[start] not in ("N", letters[end])


MITOCHONDRION = Reference("made-up", mitochondrion(), circular=True)


@pytest.fixture(scope="module")
def mapper():
    return Mapper(MITOCHONDRION)


@pytest.fixture(scope="module")
def genomes():
    rng = np.random.default_rng(21)
    return [individual(rng) for _ in range(20)]


def assert_comes_back(mapper, genome, rng, reverse):
    """From any rotation, on either strand."""
    query = rotated(genome, int(rng.integers(len(genome))))
    mapped = mapper(reverse_complement(query) if reverse else query)
    assert text(mapped) == genome
    assert mapped.strand == "+-"[reverse]


def assert_comes_back_without_its_gaps(mapper, genome, rng, reverse):
    raw = rotated(genome.replace("N", ""), int(rng.integers(16000)))
    assert text(mapper(reverse_complement(raw) if reverse else raw)) == genome


def assert_part_agrees(mapper, genome, rng):
    size = int(rng.choice([2000, 8000]))
    start = int(rng.integers(len(genome) - size))
    mapped = mapper(reverse_complement(genome[start : start + size]))
    known = mapped.letters != ord("N")
    assert (mapped.letters[known] == np.frombuffer(genome.encode(), np.uint8)[known]).all()
    assert known.sum() >= size - genome[start : start + size].count("N") - 24


def test_genomes_come_back_from_any_rotation_and_strand(mapper, genomes):
    rng = np.random.default_rng(10)
    for number, genome in enumerate(genomes):
        assert_comes_back(mapper, genome, rng, number % 2 == 1)


def test_genomes_without_their_gaps_come_back_the_same(mapper, genomes):
    rng = np.random.default_rng(11)
    for number, genome in enumerate(genomes):
        assert_comes_back_without_its_gaps(mapper, genome, rng, number % 2 == 1)


def test_halves_and_two_thousand_letters_of_genomes(mapper, genomes):
    rng = np.random.default_rng(12)
    for genome in genomes:
        assert_part_agrees(mapper, genome, rng)


@pytest.mark.parametrize("rotation", [0, 310, 8285, 9000])
def test_insertions_and_deletions_have_their_names(mapper, rotation):
    sequence = MITOCHONDRION.sequence
    genome = sequence[:309] + "C" + sequence[309:315] + "C" + sequence[315:8271] + sequence[8280:]
    for query in (rotated(genome, rotation), reverse_complement(rotated(genome, rotation))):
        mapped = mapper(query.replace("N", ""))
        assert mapped.insertions == ((308, "C"), (314, "C"))  # 309.1C 315.1C
        missing = np.flatnonzero(mapped.letters == ord("N")) + 1
        assert missing.tolist() == [3107, *range(8281, 8290)]


# --- extra: human genomes, and those of other species ----------------------------------------------------------


@pytest.fixture(scope="module")
def human_mapper():
    return Mapper(Reference.read(RCRS, circular=True))


@pytest.fixture(scope="module")
def human_genomes():
    with open_input(GENOMES) as source:
        return [record.sequence for record in read_sequences(source)]


@needs_shared
def test_human_genomes_come_back_from_any_rotation_and_strand(human_mapper, human_genomes):
    rng = np.random.default_rng(10)
    for number in rng.choice(len(human_genomes), 60, replace=False):
        assert_comes_back(human_mapper, human_genomes[number], rng, bool(number % 2))


@needs_shared
def test_human_genomes_without_their_gaps_come_back_the_same(human_mapper, human_genomes):
    rng = np.random.default_rng(11)
    for number in rng.choice(len(human_genomes), 40, replace=False):
        assert_comes_back_without_its_gaps(
            human_mapper, human_genomes[number], rng, bool(number % 2)
        )


@needs_shared
def test_halves_and_two_thousand_letters_of_human_genomes(human_mapper, human_genomes):
    rng = np.random.default_rng(12)
    for number in rng.choice(len(human_genomes), 40, replace=False):
        assert_part_agrees(human_mapper, human_genomes[number], rng)


@needs_shared
@pytest.mark.parametrize("rotation", [0, 310, 8285, 9000])
def test_human_insertions_and_deletions_have_their_names(human_mapper, rotation):
    rcrs = human_mapper.reference.sequence
    genome = rcrs[:309] + "C" + rcrs[309:315] + "C" + rcrs[315:8271] + rcrs[8280:]
    for query in (rotated(genome, rotation), reverse_complement(rotated(genome, rotation))):
        mapped = human_mapper(query.replace("N", ""))
        assert mapped.insertions == ((308, "C"), (314, "C"))  # 309.1C 315.1C
        missing = np.flatnonzero(mapped.letters == ord("N")) + 1
        assert missing.tolist() == [3107, *range(8281, 8290)]


@needs_shared
@pytest.mark.parametrize("name", ["lambda.fa", "ecoli_k12.fa.gz", "yeast_sacCer3.fa.gz"])
def test_other_genomes_do_not_belong(human_mapper, name):
    with open_input(SHARED / "data" / "genomes" / name) as source:
        found = [human_mapper(record.held) for record in read_sequences(source)]
    assert found
    assert set(found) == {None}
