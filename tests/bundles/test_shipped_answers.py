"""What the shipped models answer, pinned: golden files made by genomai 0.1.0 (see `tests/expected/shipped-*`)."""

import itertools
import os

import pytest
from conftest import EXPECTED, REPOSITORY, assert_expected, run

pytestmark = pytest.mark.usefixtures("one_thread", "shipped_only")
EXAMPLES = REPOSITORY / "examples"
# Of numbers of vectors and likelihoods, where not the same letter for letter, as everything else is.
ABSOLUTE_TOLERANCE, RELATIVE_TOLERANCE = 1e-6, 1e-6
TRANSITION = {"A": "G", "G": "A", "C": "T", "T": "C", "N": "N"}
# the golden file: the command, and its input
BARCODES = {
    "classify-ancestry.tsv": "classify --probs --proportions superpop --pcs 3 --model ancestry",
    "classify-ancestry-967.tsv": "classify --probs --model ancestry-967",
    "classify-genomai-v2.tsv": "classify --probs --model genomai-v2",
    "align.tsv": "align --top 3",
}
SINGLE_SAMPLE = {
    "embed-ancestry.tsv": "embed --model ancestry",
    "embed-ancestry-967.tsv": "embed --model ancestry-967",
    "embed-genomai-v2.tsv": "embed --model genomai-v2",
    "denoise.fa": "denoise",
}
GENOMES = {
    "classify-mito.tsv": "classify --model mito",
    "embed-mito-pretrained.tsv": "embed --model mito-pretrained",
    "denoise-mito.tsv": "denoise --model mito-denoiser -o genome.fa --changes -",
}
DNA = {
    "embed-dna-encoder.tsv": "embed --model dna-encoder",
    "score-dna-encoder.tsv": "score --model dna-encoder --strand both",
}
WITHOUT_INPUT = {
    "generate.fa": "generate -n 2 --steps 8 --seed 3",
    "generate-phenotype.fa": "generate -n 2 --steps 8 --seed 3 --phenotype JPT",
}


def barcodes(name: str = "") -> str:
    """The examples as FASTA, or the one of a name alone."""
    entries = (EXAMPLES / "samples.fa").read_text().split(">")[1:]
    return "".join(f">{entry}" for entry in entries if entry.startswith(name))


def genomes() -> str:
    """The reference of the mitochondrial models, changed every 600 letters, with a gap, and begun elsewhere."""
    lines = (REPOSITORY / "models" / "mito" / "reference.fa").read_text().splitlines()
    letters = list("".join(lines[1:]))
    for position in range(152, len(letters), 600):
        letters[position] = TRANSITION[letters[position]]
    letters[9000:9100] = "N" * 100
    changed = "".join(letters)
    return f">straight\n{changed}\n>turned\n{changed[5000:] + changed[:5000]}\n"


def dna() -> str:
    """A piece of the same reference, once in lower case, and one longer than the encoder's window."""
    lines = (REPOSITORY / "models" / "mito" / "reference.fa").read_text().splitlines()
    letters = "".join(lines[1:])
    return (
        f">short\n{letters[:200]}\n>lower\n{letters[:200].lower()}\n>long\n{letters[5000:6200]}\n"
    )


def answer(command: str, stdin: str) -> str:
    result = run([*command.split(), "-q", "--device", "cpu", "--threads", "1"], stdin=stdin)
    assert result.status == 0, result.stderr
    return result.stdout


@pytest.mark.parametrize("name", BARCODES)
def test_the_example_samples_get_the_same(name):
    assert_pinned(name, answer(BARCODES[name], barcodes()))


@pytest.mark.parametrize("name", SINGLE_SAMPLE)
def test_a_single_sample_gets_the_same(name):
    assert_pinned(name, answer(SINGLE_SAMPLE[name], barcodes("synthetic_GBR_sparse_1")))


@pytest.mark.parametrize("name", GENOMES)
def test_genomes_get_the_same(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert_pinned(name, answer(GENOMES[name], genomes()))


@pytest.mark.parametrize("name", DNA)
def test_plain_dna_gets_the_same(name):
    assert_pinned(name, answer(DNA[name], dna()))


@pytest.mark.parametrize("name", WITHOUT_INPUT)
def test_the_same_samples_are_generated(name):
    assert_pinned(name, answer(WITHOUT_INPUT[name], ""))


def assert_pinned(name: str, text: str) -> None:
    """The golden file has the same; the numbers of vectors and likelihoods may differ by the tolerances."""
    name = f"shipped-{name}"
    has_close_numbers = any(command in name for command in ("embed", "score"))
    if not has_close_numbers or os.environ.get("GENOMAI_UPDATE_EXPECTED"):
        assert_expected(name, text)
        return
    golden = (EXPECTED / name).read_text().splitlines()
    for line, expected_line in itertools.zip_longest(text.splitlines(), golden, fillvalue=""):
        pairs = list(zip(line.split("\t"), expected_line.split("\t"), strict=True))
        for field, expected in (pair for pair in pairs if pair[0] != pair[1]):
            assert float(field) == pytest.approx(
                float(expected), abs=ABSOLUTE_TOLERANCE, rel=RELATIVE_TOLERANCE
            )
