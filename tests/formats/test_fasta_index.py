"""References whose file has a contig twice, which htslib's index does not tell: refused however the file is packed."""

import gzip

import pysam
import pytest

from genomai_cli.errors import InputError
from genomai_cli.formats.fasta_index import duplicate_name
from genomai_cli.formats.indexed_fasta import open_reference

ONE, OTHER = ">chr1 of a\nACGT\nAC\n", ">chr2\nGGGG\n"
LONG = ">chr3\n" + "ACGTTGATCA\n" * 20_000  # more than a block of BGZF
AGAIN = {
    "in the middle": ONE + OTHER + ">chr1 again\nTTTT\n" + LONG,
    "at the end": LONG + OTHER + ONE + OTHER,
    "behind one of several blocks": ONE + LONG + LONG + OTHER,
    "long": ONE + OTHER + ">chr2\n" + "T" * 200_000 + "\n" + LONG,
    "after one without letters": ONE + OTHER + ">empty\n>chr1\nAC\n",
    "once without letters": ONE + ">chr2\n" + OTHER,
    "without a last line end": ONE + OTHER + ">chr2\nTT",
}
DIFFERENT = {
    "plain": ONE + OTHER + LONG,
    "Windows": (ONE + OTHER + LONG).replace("\n", "\r\n"),
    "empty records and lines": ONE + "\n>empty\n>none\n" + OTHER + "\n\n" + LONG + "\n",
    "titles with >": ">a >b\nACGT\n>b >a\nACGT\n",
}


@pytest.fixture(params=["plain", "BGZF", "gzip"])
def written(request, tmp_path):
    """Writes text as a reference."""

    def write(text, indexed):
        path = tmp_path / "ref.fa"
        path.write_text(text)
        if request.param == "BGZF":
            pysam.tabix_compress(str(path), str(path) + ".gz")
        if request.param == "gzip":
            (tmp_path / "ref.fa.gz").write_bytes(gzip.compress(text.encode()))
        reference = path if request.param == "plain" else tmp_path / "ref.fa.gz"
        if indexed:
            index(reference)
        return reference

    return write


def index(path):
    """Make samtools' index, if the file can have one."""
    pysam.set_verbosity(0)
    try:
        pysam.faidx(str(path))
    except pysam.utils.SamtoolsError:
        return
    assert path.with_name(path.name + ".fai").is_file()


@pytest.mark.parametrize("indexed", [False, True])
@pytest.mark.parametrize("text", AGAIN.values(), ids=AGAIN)
def test_a_contig_that_is_there_twice_is_refused(written, text, indexed):
    path = written(text, indexed)
    with (
        pytest.raises(InputError, match=r"ref\.fa(\.gz)?: the contig chr\d is there twice"),
        open_reference(path),
    ):
        pass


@pytest.mark.parametrize("indexed", [False, True])
@pytest.mark.parametrize("text", DIFFERENT.values(), ids=DIFFERENT)
def test_contigs_of_different_names_are_read(written, text, indexed):
    with open_reference(written(text, indexed)) as reference:
        assert reference.fetch(next(iter(reference.lengths)), 0, 4) == "ACGT"


def test_an_index_of_another_file_is_made_anew(tmp_path):
    path = tmp_path / "ref.fa"
    path.write_text(">b\nACGT\n>a\nTTTT\n")
    (tmp_path / "ref.fa.fai").write_text("a\t4\t3\t4\t5\nb\t4\t11\t4\t5\n")
    with open_reference(path) as reference:
        assert reference.fetch("a", 0, 4) == "TTTT"


@pytest.mark.parametrize("content", [b"", b"chr1\n", b"chr1\tx\t1\t1\t1\n", b"chr1\t4\t6\t0\t0\n"])
def test_a_damaged_index_says_nothing(tmp_path, content):
    path, fai = tmp_path / "ref.fa", tmp_path / "ref.fa.fai"
    path.write_text(ONE)
    fai.write_bytes(content)
    assert duplicate_name(path, [fai]) is None


def test_an_index_that_has_a_name_twice(tmp_path):
    path, fai = tmp_path / "ref.fa", tmp_path / "ref.fa.fai"
    path.write_text(">a\nACGT\n>a\nACGT\n")
    fai.write_text("a\t4\t3\t4\t5\na\t4\t11\t4\t5\n")  # as other programs than samtools write it
    assert duplicate_name(path, [fai]) == "a"
