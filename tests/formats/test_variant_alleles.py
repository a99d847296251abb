"""Alleles on a reference: normalised, compared with REF, read from VCF and BCF, put into INFO; the reference itself."""

import gzip
import io
import os

import pysam
import pytest
from hypothesis import given
from hypothesis import strategies as st

from genomai_cli.errors import InputError, UsageError
from genomai_cli.formats.indexed_fasta import BLOCK, open_reference
from genomai_cli.formats.shards import Shard
from genomai_cli.formats.streams import open_input
from genomai_cli.formats.variant_alleles import (
    AlleleRecord,
    Change,
    as_vcf_alleles,
    is_sequence,
    normalised,
    read_alleles,
    reference_allele,
    reference_mismatch,
    with_info,
    with_info_header,
)

GENOME = "GATTACAAAAAACCGTGTGTGTCCATGNRTAGC"


class TextReference:
    """A reference of one contig, `1`."""

    def __init__(self, sequence=GENOME):
        self.sequence, self.lengths = sequence, {"1": len(sequence)}

    def fetch(self, name, start, end):
        return self.sequence[max(0, start) : end]


def applied(sequence, change):
    assert sequence[change.start : change.end] == change.ref
    return sequence[: change.start] + change.alt + sequence[change.end :]


def record(position, ref, *alts):
    return AlleleRecord("1", position, ref, alts, "v.vcf", 7)


class TestNormalised:
    @given(st.text("AC", min_size=1, max_size=14), st.data())
    def test_it_makes_the_same_sequence_by_the_leftmost_smallest_change(self, sequence, data):
        start = data.draw(st.integers(0, len(sequence) - 1))
        end = data.draw(st.integers(start + 1, len(sequence)))
        alt = data.draw(st.text("AC", min_size=1, max_size=4))
        ref = sequence[start:end]
        change = normalised("1", start + 1, ref, alt, TextReference(sequence))
        mutated = sequence[:start] + alt + sequence[end:]
        assert applied(sequence, change) == mutated
        if not (change.ref and change.alt):
            size = len(change.ref)
            equivalent_starts = [
                position
                for position in range(len(sequence) - size + 1)
                for inserted in {mutated[position : position + len(mutated) - len(sequence) + size]}
                if sequence[:position] + inserted + sequence[position + size :] == mutated
            ]
            assert mutated == sequence or change.start == min(equivalent_starts)
        else:
            assert change.ref[0] != change.alt[0]
            assert change.ref[-1] != change.alt[-1]

    @pytest.mark.parametrize(
        ("position", "ref", "alt", "expected"),
        [
            (3, "T", "G", (3, "T", "G")),
            (10, "AA", "A", (6, "CA", "C")),
            (19, "GTG", "G", (14, "CGT", "C")),
            (12, "A", "AAA", (6, "C", "CAA")),
            (1, "GA", "A", (1, "GA", "A")),
            (4, "TACA", "TGGA", (5, "AC", "GG")),
        ],
    )
    def test_as_a_vcf_writes_it(self, position, ref, alt, expected):
        assert (
            as_vcf_alleles(normalised("1", position, ref, alt, TextReference()), TextReference())
            == expected
        )

    def test_an_allele_like_the_reference_changes_nothing(self):
        assert normalised("1", 4, "ta", "TA", TextReference()) == Change("1", 3, "", "")


class TestDisagreement:
    @pytest.mark.parametrize("ref", ["A", "a", "N", "ACAA"])
    def test_ref_as_in_the_reference(self, ref):
        assert reference_mismatch(record(5, ref, "T"), "1", TextReference()) == ""

    @pytest.mark.parametrize(
        ("position", "ref", "message"),
        [
            (5, "G", "REF has G where the reference has A at 1:5"),
            (5, "ACG", "REF has G where the reference has A at 1:7"),
            (33, "CA", "lies outside of the contig 1 of 33 letters"),
            (0, "A", "lies outside"),
        ],
    )
    def test_it_is_named(self, position, ref, message):
        assert message in reference_mismatch(record(position, ref, "T"), "1", TextReference())

    def test_an_ambiguous_letter_stands_for_its_bases(self):
        assert reference_mismatch(record(28, "AG", "A"), "1", TextReference()) == ""
        assert reference_mismatch(record(29, "T", "A"), "1", TextReference()) != ""

    def test_the_reference_says_what_n_is(self):
        assert reference_allele(record(4, "TNn", "T"), "1", TextReference()) == "TAC"


@pytest.mark.parametrize(
    ("alt", "expected"),
    [("ACGT", True), ("a", True), ("<DEL>", False), ("*", False), ("A[2:3[", False), ("AN", False), (".A", False)],
)  # fmt: skip
def test_which_alleles_are_sequences(alt, expected):
    assert is_sequence(alt) is expected


VCF = """\
##fileformat=VCFv4.2
##contig=<ID=chr1>
##INFO=<ID=AC,Number=A,Type=Integer,Description="Count">
#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO
chr1\t3\trs1\tT\tG,<DEL>\t.\tPASS\tAC=1
chr1\t9\t.\tA\t.\t.\t.\t.
"""


def read(tmp_path, text, name="v.vcf"):
    file = tmp_path / name
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    with open_input(file) as source:
        found = read_alleles(source)
        return found.header, list(found.records)


class TestReading:
    def test_records_without_samples(self, tmp_path):
        header, (first, second) = read(tmp_path, VCF)
        assert header[-1].startswith(b"#CHROM")
        assert (first.contig, first.position, first.ref, first.alts, first.line) == (
            "chr1",
            3,
            "T",
            ("G", "<DEL>"),
            5,
        )
        assert first.label == "chr1:3 T>G,<DEL>"
        assert second.alts == ()

    def test_bcf_gives_the_same(self, tmp_path):
        (tmp_path / "v.vcf").write_text(VCF)
        with pysam.VariantFile(str(tmp_path / "v.vcf")) as source, pysam.VariantFile(
            str(tmp_path / "v.bcf"), "wb", header=source.header
        ) as bcf:  # fmt: skip
            for variant in source:
                bcf.write(variant)
        _, records = read(tmp_path, (tmp_path / "v.bcf").read_bytes(), "w.bcf")
        assert [(r.contig, r.position, r.ref, r.alts) for r in records] == [
            ("chr1", 3, "T", ("G", "<DEL>")),
            ("chr1", 9, "A", ()),
        ]

    @pytest.mark.parametrize(
        ("line", "message"),
        [
            ("chr1\tx\t.\tA\tC", "needs CHROM, POS, ID, REF and ALT"),
            ("chr1\t3\t.\tA", r"truncated\?"),
            ("chr1\t3\t.\t<A>\tC\n", "REF is no sequence"),
        ],
    )
    def test_faulty_records_are_refused_with_their_line(self, tmp_path, line, message):
        with pytest.raises(InputError, match=rf"v.vcf:7: .*{message}"):
            read(tmp_path, VCF + line)

    def test_a_fasta_is_none(self, tmp_path):
        with pytest.raises(InputError, match="FASTA, where VCF or BCF is needed"):
            read(tmp_path, ">a\nACGT\n")


class TestInfo:
    def test_fields_are_added_and_those_of_the_same_name_replaced(self):
        line = b"1\t3\t.\tT\tG\t.\t.\tAC=1;X=9;DB"
        assert with_info(line, {"X": ["1", "2"]}).endswith(b"\tAC=1;DB;X=1,2")
        assert with_info(b"1\t3\t.\tT\tG\t.\t.\t.\tGT\t0/1", {"X": ["1"]}).endswith(
            b"\tX=1\tGT\t0/1"
        )
        assert with_info(b"1\t3\t.\tT\tG", {"X": ["1"]}) == b"1\t3\t.\tT\tG\t.\t.\tX=1"
        assert with_info(line, {}) == line

    def test_the_header_declares_them_once(self):
        first = [*with_info_header([b"##a", b"#CHROM"], {"X": "what"}, "m")]
        assert first[-1] == b"#CHROM"
        assert b'##INFO=<ID=X,Number=A,Type=Float,Description="what">' in first
        second = [*with_info_header(first, {"X": "what"}, "m")]
        assert sum(b"ID=X," in line for line in second) == 1


class TestReference:
    text = (
        ">chr1 first\n" + "\n".join([GENOME[:20], GENOME[20:]]) + "\n>2\n" + "acgu" * 30_000 + "\n"
    )

    @pytest.fixture(params=["plain", "gzip", "bgzf", "indexed", "bgzf indexed"])
    def reference(self, request, tmp_path):
        file = tmp_path / "r.fa"
        file.write_text(self.text)
        if request.param == "gzip":
            file = tmp_path / "r.fa.gz"
            file.write_bytes(gzip.compress(self.text.encode()))
        if request.param.startswith("bgzf"):
            file = tmp_path / "r.fa.gz"
            pysam.tabix_compress(str(tmp_path / "r.fa"), str(file))
        if request.param.endswith("indexed"):
            pysam.faidx(str(file))
        before = set(os.listdir(tmp_path))
        with open_reference(file) as found:
            yield found
        assert set(os.listdir(tmp_path)) == before

    def test_regions_are_those_of_the_text(self, reference):
        second = "ACGT" * 30_000
        assert reference.lengths == {"chr1": len(GENOME), "2": len(second)}
        assert reference.fetch("chr1", -3, 8) == GENOME[:8]
        assert reference.fetch("chr1", 30, 99) == GENOME[30:]
        for start, end in ((BLOCK - 5, BLOCK + 5), (7, BLOCK + 90), (119_990, 120_000), (5, 5)):
            assert reference.fetch("2", start, end) == second[start:end]

    def test_contigs_are_found_under_either_name(self, reference):
        assert [reference.name(n) for n in ("1", "chr1", "chr2", "3")] == [
            "chr1",
            "chr1",
            "2",
            None,
        ]
        assert reference.contig_list() == "chr1, 2"

    @pytest.mark.parametrize("text", ["hello\n", ">a\nACGT\nAC\nACGT\n", ""])
    def test_files_that_are_no_reference_are_refused(self, tmp_path, text):
        (tmp_path / "r.fa").write_text(text)
        with pytest.raises(InputError, match=r"r.fa: "), open_reference(tmp_path / "r.fa"):
            pass

    def test_a_missing_reference_is_refused(self, tmp_path):
        with pytest.raises(InputError, match="no such file"), open_reference(tmp_path / "r.fa"):
            pass


class TestShards:
    @given(st.lists(st.integers()), st.integers(1, 7))
    def test_shards_end_to_end_are_the_full_input(self, items, count):
        parts = [list(Shard(number, count).part(iter(items))) for number in range(1, count + 1)]
        assert [item for part in parts for item in part] == items
        assert max(map(len, parts)) - min(map(len, parts)) <= 1

    @pytest.mark.parametrize("text", ["0/2", "3/2", "1", "a/b", "1/0"])
    def test_others_are_refused(self, text):
        with pytest.raises(UsageError, match="--shard"):
            Shard.parsed(text)


def test_values_of_bases_in_a_file(tmp_path):
    """bedGraph and HDF5 hold the same values, whatever the chunks in which they came."""
    import h5py
    import numpy as np

    from genomai_cli.formats.base_tracks import base_track

    values = [np.array([np.nan, -1.5]), np.array([-0.25]), np.array([]), np.array([-2.0])]
    for name in ("v.bedgraph.gz", "v.h5"):
        with base_track(tmp_path / name, {"model_name": "m"}) as track:
            for number, part in enumerate(values):
                track.add("a" if number < 3 else "b", part, last=number in (2, 3))
    assert gzip.decompress((tmp_path / "v.bedgraph.gz").read_bytes()).decode() == (
        "a\t1\t2\t-1.500000\na\t2\t3\t-0.250000\nb\t0\t1\t-2.000000\n"
    )
    with h5py.File(io.BytesIO((tmp_path / "v.h5").read_bytes())) as file:
        assert file["ids"][:].tolist() == [b"a", b"b"]
        assert file["offsets"][:].tolist() == [0, 3, 4]
        assert file["values"][1:].tolist() == [-1.5, -0.25, -2.0]
        assert file.attrs["model_name"] == "m"
    with pytest.raises(UsageError, match=r"name it .bedgraph"), base_track(tmp_path / "v.txt", {}):
        pass
