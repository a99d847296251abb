"""`--shard I/N` of every command that works record by record: the outputs of the parts, joined, are that of one run."""

import gzip
import re

import numpy as np
import pytest
from conftest import REPOSITORY, run

pytestmark = pytest.mark.usefixtures("one_thread", "shipped_only")
EXAMPLES = REPOSITORY / "examples"


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The example samples: barcodes with missing letters, haplotypes, a VCF lacking some calls and sites, labels."""
    folder, rng = tmp_path_factory.mktemp("shards"), np.random.default_rng(3)
    text = gzip.decompress((EXAMPLES / "samples.vcf.gz").read_bytes()).decode()
    lines = [line for line in text.splitlines() if line.startswith("#") or rng.random() < 0.9]
    lines = [
        line if line.startswith("#") or rng.random() < 0.5 else re.sub(r"0\|1", "./.", line)
        for line in lines
    ]
    (folder / "gaps.vcf").write_text("\n".join(lines) + "\n")
    records = (EXAMPLES / "samples.fa").read_text().split(">")[1:]
    masked = "".join(f">{record.replace('A', 'N')}" for record in records)
    (folder / "gaps.fa").write_text("\n" + masked)
    pairs = run(["tokenize", "--to", "fasta", "--haplotypes", EXAMPLES / "samples.vcf.gz"]).stdout
    (folder / "haplotypes.fa").write_text(re.sub("C", "N", pairs))
    dna = ("".join(rng.choice(list("ACGT"), 20 * n)) for n in range(1, 6))
    (folder / "dna.fa").write_text("".join(f">{n}\n{text}\n" for n, text in enumerate(dna)))
    names = [record.split()[0] for record in records]
    rows = "".join(f"{name}\t{'one' if n % 2 else 'two'}\n" for n, name in enumerate(names))
    (folder / "labels.tsv").write_text(f"sample\tgroup\n{rows}")
    return folder


COMMANDS = {
    "tokenize": "tokenize --words {folder}/gaps.fa {examples}/samples.vcf.gz",
    "tokenize-fasta": "tokenize --to fasta {examples}/samples.vcf.gz",
    "classify": "classify --probs {examples}/samples.fa",
    "classify-vcf": "classify --model ancestry-967 {examples}/samples.vcf.gz",
    "embed": "embed {examples}/samples.vcf.gz",
    "embed-tokens": "embed --per-token --model {dna} --window 30 {folder}/dna.fa",
    "augment": "augment --views 2 --mask 0.2 --mutate 0.1 {examples}/samples.vcf.gz",
    "augment-cross": "augment --cross --labels {folder}/labels.tsv {examples}/samples.fa",
    "denoise": "denoise {folder}/gaps.fa {folder}/haplotypes.fa",
    "denoise-vcf": "denoise {folder}/gaps.vcf",
    "denoise-nothing": "denoise --only-present {examples}/samples.vcf.gz",
    "align": "align --top 3 {examples}/samples.vcf.gz",
}


@pytest.mark.parametrize("command", COMMANDS)
def test_the_outputs_of_the_parts_end_to_end_are_the_whole(command, files, tiny_sequence_bundle):
    names = {"folder": files, "examples": EXAMPLES, "dna": tiny_sequence_bundle}
    arguments = COMMANDS[command].format(**names).split()
    expected = run(arguments)
    assert expected.status == 0, expected.stderr
    for count in (3, 17) if command in ("tokenize", "denoise") else (3,):
        parts = [run([*arguments, "--shard", f"{n}/{count}"]) for n in range(1, count + 1)]
        assert [part.status for part in parts] == [0] * count, parts[0].stderr
        assert b"".join(part.output for part in parts) == expected.output
        if count == 3:
            assert all(part.output for part in parts)


@pytest.mark.parametrize(
    ("options", "command"),
    [("--changes", "denoise-vcf"), ("--changes", "denoise"), ("--labels-out", "augment-cross")],
)
def test_so_are_the_tables_beside_them(options, command, files, tmp_path):
    arguments = COMMANDS[command].format(folder=files, examples=EXAMPLES).split()

    def table(*shard):
        result = run([*arguments, options, tmp_path / "t.tsv", *shard])
        assert result.status == 0, result.stderr
        return (tmp_path / "t.tsv").read_text()

    assert "".join(table("--shard", f"{n}/3") for n in (1, 2, 3)) == table()


def test_parts_of_standard_input_and_of_more_parts_than_records():
    text = ">a\nACGT\n>b\nGGCC\n"
    expected = run(["tokenize", "--tokenizer", "characters"], text).output
    parts = [
        run(["tokenize", "--tokenizer", "characters", "--shard", f"{n}/4"], text).output
        for n in range(1, 5)
    ]
    assert b"".join(parts) == expected
    assert parts[0].startswith(b"id\ttokens\na\t")


def test_the_first_part_has_the_header_though_its_records_have_no_tokens(tiny_sequence_bundle):
    text = ">a\nA\n>b\nACGTACGT\n"
    arguments = ["embed", "--per-token", "--model", tiny_sequence_bundle]
    parts = [run([*arguments, "--shard", f"{n}/2"], text).output for n in (1, 2)]
    assert parts[0].startswith(b"id\ttoken\te1")
    assert b"".join(parts) == run(arguments, text).output


def test_a_part_of_hdf5_has_its_own_rows_and_is_resumed_as_the_same_part(tmp_path):
    import h5py

    joined = tmp_path / "x.h5"
    for number in (1, 2):
        arguments = ["embed", "-o", joined, "--append", EXAMPLES / "samples.fa"]
        assert run([*arguments, "--shard", f"{number}/2"]).status == 0
    expected = tmp_path / "y.h5"
    assert run(["embed", "-o", expected, EXAMPLES / "samples.fa"]).status == 0
    with h5py.File(joined) as one, h5py.File(expected) as two:
        assert one["ids"][:].tolist() == two["ids"][:].tolist()
        np.testing.assert_array_equal(one["embeddings"][:], two["embeddings"][:])


@pytest.mark.parametrize("options", ["--reverse", "--pairs x.tsv", "--plot x.png"])
def test_what_is_about_all_samples_has_no_parts(options):
    result = run(["align", *options.split(), "--shard", "1/2", EXAMPLES / "samples.vcf.gz"])
    assert result.status == 2
    assert "--shard" in result.stderr


def test_a_shard_that_is_none_is_wrong_usage():
    result = run(["tokenize", "--shard", "3/2"], ">a\nACGT\n")
    assert result.status == 2
    assert "--shard 3/2: I/N, with I from 1 to N" in result.stderr
