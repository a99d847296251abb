"""The benchmark of imputed mitochondrial genomes: what is hidden, how it is scored, the baselines."""

import gzip

import numpy as np
import pytest

from benchmarks.mito import imputation, imputers, masking
from benchmarks.mito.imputers import ByNearest, ByReference, TrainingGenomes
from benchmarks.mito.masking import UNKNOWN, ImputationScores, Restored, hidden_mask
from genomai_cli.mapping.reference import Reference

SIZE = 400


def codes(text):
    return np.array([list(map("ACGTN".index, row)) for row in text.split()], np.uint8)


@pytest.fixture
def training():
    return TrainingGenomes(
        Reference("ref", "ACGTACGTAN", True),
        codes("ACGTACGTTN CCGTACGGAN"),
        codes("AAGTACCTAN GAGTACGTTC"),
        0,
    )


@pytest.mark.parametrize("condition", masking.CONDITIONS)
def test_every_condition_hides_its_share(condition):
    mask = hidden_mask(condition, 300, SIZE, seed=1)
    fraction = masking.SHARES.get(condition, 0.5)
    assert mask.mean() == pytest.approx(fraction, abs=0.01)
    assert np.array_equal(mask, hidden_mask(condition, 300, SIZE, seed=1))


def test_half_of_the_circle_is_one_segment():
    mask = hidden_mask(masking.HALF, 20, SIZE, seed=1)
    changes = (mask != np.roll(mask, 1, axis=1)).sum(axis=1)
    assert (changes == 2).all()
    assert (mask.sum(axis=1) == SIZE // 2).all()


def test_a_genome_is_scored_where_it_was_hidden_and_known():
    reference, truth = codes("ACGTN")[0], codes("AAGAC CCNTC")
    restored = Restored(codes("AAGTC ACGTC"), np.full((2, 5), 0.5, np.float32))
    mask = np.array([[True, True, False, True, True], [True] * 5])
    scores = ImputationScores.of(restored, truth, mask, reference)
    # letters hidden, right, variants hidden, restored, false changes
    assert scores.counts.tolist() == [[3, 2, 2, 1, 0], [3, 2, 1, 0, 0]]
    assert len(scores.probability) == 6
    inverted = ImputationScores.of(Restored(codes("TCGTN")), codes("ACGTN"), mask[1:], reference)
    assert inverted.counts.tolist() == [[4, 3, 0, 0, 1]]


def test_measures_are_over_the_letters_of_all_samples():
    counts = np.array([[10, 9, 2, 1, 0], [30, 29, 2, 2, 1.0]])
    row = masking.row("m", "60 %", ImputationScores(counts, np.zeros(0), np.zeros(0, bool)), 1.0)
    assert (row.letters, row.variants, row.false, row.missed) == (38 / 40, 3 / 4, 0.5, 0.5)
    assert row.letters_low <= row.letters <= row.letters_high
    assert np.isnan(row.ece)


def test_the_reference_is_imputed_everywhere(training):
    imputer = ByReference().learn(training)
    assert np.array_equal(imputer(codes("NNNNNNNNNN")).codes, codes("ACGTACGTAN"))


def test_the_nearest_genome_is_copied(training):
    observed = codes("GNNNNNNNNN NNNNNNNGNN")
    from_samples = ByNearest("nearest").learn(training)(observed).codes
    from_all_genomes = ByNearest("both", world=True).learn(training)(observed).codes
    assert np.array_equal(from_samples[:1], codes("GAGTACGTTC"))
    assert np.array_equal(from_all_genomes, codes("GAGTACGTTC CCGTACGGAN"))


def test_a_letter_that_the_copy_lacks_is_the_reference_s(training):
    restored = ByNearest("nearest").learn(training)(codes("AANNNNNNNN")).codes
    assert restored[0, 9] == UNKNOWN  # the reference has none either
    assert np.array_equal(restored[0, :9], codes("AAGTACCTA")[0])


def test_twins_have_the_same_letters_where_samples_differ():
    samples, world_genomes = codes("ACGT CCGT ACGA"), codes("ACTT CCAT")
    positions = np.array([0, 1, 3])
    assert imputers.identical(samples, world_genomes, positions).tolist() == [True, True, False]


def test_the_benchmark_runs_on_made_up_samples(tmp_path, capsys):
    rng = np.random.default_rng(3)
    size = 3000
    reference = rng.choice(np.frombuffer(b"ACGT", np.uint8), size)
    positions = np.sort(rng.choice(size, 20, replace=False))
    genomes = np.tile(reference, (40, 1))
    carries = rng.random((40, 20)) < 0.4
    genomes[:, positions] = np.where(
        carries, np.where(reference[positions] == 65, 71, 65), reference[positions]
    )
    text = "".join(f">p{n}\n{row.tobytes().decode()}\n" for n, row in enumerate(genomes))
    with gzip.open(tmp_path / "mt.train.fa.gz", "wt") as handle:
        handle.write(text)
    (tmp_path / "rCRS.fa").write_text(f">ref\n{reference.tobytes().decode()}\n")
    labels = "".join(f"p{n}\tPOP{n % 2}\tSUP{n % 2}\n" for n in range(40))
    (tmp_path / "train.labels.tsv").write_text("sample\tpopulation\tsuperpopulation\n" + labels)
    groups = "".join(f"p{n}\t{'HU'[n % 2]}1\n" for n in range(40))
    (tmp_path / "mt.train.haplogroups.tsv").write_text("sample\thaplogroup\n" + groups)
    lines = ["##fileformat=VCFv4.2", f"##contig=<ID=ref,length={size}>"]
    lines.append("#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\tFORMAT\tw0\tw1")
    letters = [chr(reference[p]) for p in positions]
    for p, letter in zip(positions, letters, strict=True):
        lines.append(
            f"ref\t{p + 1}\t.\t{letter}\t{'G' if letter == 'A' else 'A'}\t.\t.\t.\tGT\t0\t1"
        )
    (tmp_path / "world.vcf").write_text("\n".join(lines) + "\n")
    files = f"--data {tmp_path} --world {tmp_path}/world.vcf --reference {tmp_path}/rCRS.fa"
    methods = "--methods reference,nearest,nearest-world --folds 4"
    imputation.main(f"{files} {methods} --markdown {tmp_path}/table.md".split())
    header, *rows = capsys.readouterr().out.splitlines()
    assert header.startswith("method\tcondition\tn\tletters")
    assert len(rows) == 3 * (len(masking.CONDITIONS) + 1)
    values = {tuple(row.split("\t")[:2]): row.split("\t") for row in rows}
    assert float(values["reference", "60 %"][6]) == 0
    assert "always rCRS" in (tmp_path / "table.md").read_text()
