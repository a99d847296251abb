"""`genomai score`: rows of sequences and variants, the same however they come; what is skipped and what refused."""

import json
import math

import h5py
import likelihood_bundles
import numpy as np
import pysam
import pytest
import tiny_causal
import torch
from conftest import EXPECTED, assert_expected, run

from genomai_cli.alphabet import as_letters, as_text, reverse_complement
from genomai_cli.bundles import catalog
from genomai_cli.sources.installed import DNA_ENCODER

pytestmark = pytest.mark.usefixtures("one_thread")
CONTIG = "".join("ACGT"[int(7 * math.sin(1.3 * n) ** 2 * n) % 4] for n in range(300))
CONTIG = CONTIG[:100] + "CAAAAAAAAG" + CONTIG[110:200] + "N" + CONTIG[201:]
SHORT = "ACGTACGTGGA"
COLUMNS = "#CHROM POS ID REF ALT QUAL FILTER INFO".replace(" ", "\t")


@pytest.fixture(scope="module", autouse=True)
def registered_network():
    with pytest.MonkeyPatch.context() as patch:
        tiny_causal.register(patch)
        yield


@pytest.fixture(scope="module")
def models(tmp_path_factory, registered_network):
    folder = tmp_path_factory.mktemp("likely")
    heads = {"kind": ["enhancer", "promoter", "silent"]}
    bundles = {
        "causal": likelihood_bundles.causal(),
        "masked": likelihood_bundles.masked(),
        "labels": likelihood_bundles.bundle(
            "dnabert", likelihood_bundles.SIX, "", heads, **likelihood_bundles.DNABERT
        ),
    }
    return {
        name: likelihood_bundles.saved(bundle, folder / name) for name, bundle in bundles.items()
    }


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    file = tmp_path_factory.mktemp("reference") / "ref.fa"
    lines = [CONTIG[at : at + 60].lower() for at in range(0, len(CONTIG), 60)]
    file.write_text(">chr1 made up\n" + "\n".join(lines) + f"\n>chr2\n{SHORT}\n")
    return file


def vcf(*variants, contig="1"):
    """A VCF of (position, REF, ALT), REF taken from the contig where it is a number of letters."""
    lines = ["##fileformat=VCFv4.2", COLUMNS]
    for position, ref, alt in variants:
        ref = CONTIG[position - 1 : position - 1 + ref] if isinstance(ref, int) else ref
        lines.append(f"{contig}\t{position}\tid{position}\t{ref}\t{alt}\t.\tPASS\tDP=9")
    return "\n".join(lines) + "\n"


def other_base(position):
    """Another base than the contig's."""
    return "ACGT"["ACGT".index(CONTIG[position - 1]) - 1]


VARIANTS = [
    (1, 1, other_base(1)),
    (50, 1, ",".join(base for base in "ACGT" if base != CONTIG[49])),
    (103, "AA", "A"),
    (106, "AA", "A"),
    (150, 3, "GG" + other_base(150)),
    (190, 1, f"<DEL>,{other_base(190)},*"),
    (250, 1, CONTIG[249] + "TTT"),
    (300, 1, other_base(300)),
]


@pytest.fixture
def score(models, reference):
    def run_score(*options, model="causal", stdin=b"", with_reference=True):
        reference_options = ["--reference", reference] if with_reference else []
        return run(
            ["score", "--model", models[model], "--device", "cpu", *reference_options, *options],
            stdin,
        )

    return run_score


def table(result):
    assert result.status == 0, result.stderr
    header, *rows = result.rows
    return [dict(zip(header, row, strict=True)) for row in rows]


def deltas(result):
    return [float(row["delta"]) for row in table(result)]


class TestSequences:
    FASTA = f">a\n{CONTIG[:120]}\n>b\nACGTN\n>c\nA\n>d\n\n"

    def test_rows_of_sequences(self, score):
        result = score(stdin=self.FASTA, with_reference=False)
        rows = table(result)
        assert_expected("score-sequences.tsv", result.stdout)
        assert [row["length"] for row in rows] == ["120", "5", "1", "0"]
        assert [row["scored"] for row in rows] == ["119", "3", "0", "0"]
        assert rows[2]["log_likelihood"] == rows[2]["perplexity"] == "."
        total, mean = float(rows[0]["log_likelihood"]), float(rows[0]["per_base"])
        assert total / 119 == pytest.approx(mean, abs=1e-6)
        assert float(rows[0]["perplexity"]) == pytest.approx(math.exp(-mean), rel=1e-5)
        assert "exact; a sequence's first token is not scored" in result.stderr
        assert "1 letters are not scored" in result.stderr

    def test_a_masked_model_says_that_it_is_one(self, score, tmp_path):
        report = tmp_path / "r.json"
        result = score(
            "--report-json", report, model="masked", stdin=self.FASTA, with_reference=False
        )
        assert [row["method"] for row in table(result)] == ["masked"] * 4
        assert "pseudo-log-likelihood of a masked model, one base masked at a time" in result.stderr
        assert json.loads(report.read_text())["details"]["method"] == "masked"

    def test_values_of_bases_add_up_to_the_row(self, score, tmp_path):
        (row, *_) = table(
            score("--per-base", tmp_path / "b.h5", stdin=self.FASTA, with_reference=False)
        )
        with h5py.File(tmp_path / "b.h5") as file:
            start, end = file["offsets"][:2]
            values = file["values"][start:end]
            assert file.attrs["method"] == "next-token"
        assert math.isnan(values[0])
        assert np.nansum(values) == pytest.approx(float(row["log_likelihood"]), rel=1e-5)

    @pytest.mark.parametrize("stride", [1, 2])
    def test_bases_of_overlapping_tokens_have_values_and_those_of_others_none(
        self, tmp_path, stride
    ):
        tokenizer = {"kind": "kmers", "k": 2, "stride": stride}
        bundle = likelihood_bundles.bundle(tiny_causal.KIND, tokenizer, "causal")
        model, file = likelihood_bundles.saved(bundle, tmp_path / "model"), tmp_path / "b.h5"
        arguments = ["score", "--model", model, "--device", "cpu"]
        text = f">a\n{CONTIG[:40]}\n"
        result = run([*arguments, "--per-base", file], text)
        if stride == 2:
            assert result.status == 2
            assert "scores tokens of 2 letters" in result.stderr
            assert "without --per-base the sequences' log-likelihoods are exact" in result.stderr
            assert run(arguments, text).status == 0
            return
        (row,) = table(result)
        ids = torch.from_numpy(bundle.tokenizer.encode(CONTIG[:40]).astype(np.int64))[None]
        with torch.inference_mode():
            network = bundle.classifier.networks[0]
            logits = network.lm_logits(bundle.auxiliary["causal"], network(ids))[0, :-1]
        log_probs = logits.log_softmax(1)[torch.arange(38), ids[0, 1:]]
        with h5py.File(file) as track:
            values = track["values"][:]
        assert np.isnan(values[:2]).all()
        np.testing.assert_allclose(values[2:], log_probs, rtol=1e-5)
        assert row["scored"] == "38"
        assert float(row["log_likelihood"]) == pytest.approx(float(log_probs.sum()), abs=1e-5)

    def test_variants_without_a_reference_are_refused(self, score):
        result = score(stdin=vcf((1, 1, "A")), with_reference=False)
        assert result.status == 2
        assert "variants are scored on a --reference" in result.stderr


class TestVariants:
    def test_rows_of_alleles(self, score):
        result = score("--window", 64, "--strand", "both", stdin=vcf(*VARIANTS))
        rows = table(result)
        golden = [
            line.split("\t") for line in (EXPECTED / "score-variants.tsv").read_text().splitlines()
        ]
        for row, expected in zip(result.rows, golden, strict=True):
            for value, expected_value in zip(row, expected, strict=True):
                if value != expected_value:  # in single precision processors round differently
                    assert float(value) == pytest.approx(float(expected_value), abs=1e-4)
        assert [row["pos"] for row in rows] == [
            "1",
            "50",
            "50",
            "50",
            "103",
            "106",
            "150",
            "190",
            "250",
            "300",
        ]
        assert "2 symbolic, ambiguous, * or breakend" in result.stderr
        for row in rows:
            ref, alt = float(row["ref_score"]), float(row["alt_score"])
            assert float(row["delta"]) == pytest.approx(alt - ref, abs=2e-6)
            mean = ref / float(row["ref_length"])
            assert float(row["ref_per_base"]) == pytest.approx(mean, abs=2e-6)

    def test_scores_are_those_of_the_window_as_a_sequence(self, score):
        for row in table(
            score("--window", 40, stdin=vcf((50, 1, other_base(50)), (103, "AA", "A")))
        ):
            first, last = (int(end) for end in row["window"].split("-"))
            position, change = row["normalized"].split(":")
            before, after = change.split(">")
            start = int(position) - 1
            ref = CONTIG[first - 1 : last]
            alt = CONTIG[first - 1 : start] + after + CONTIG[start + len(before) : last]
            found = table(score(stdin=f">r\n{ref}\n>a\n{alt}\n", with_reference=False))
            values = [float(one["log_likelihood"]) for one in found]
            scores = [float(row["ref_score"]), float(row["alt_score"])]
            assert scores == pytest.approx(values, abs=1e-4)

    def test_windows_lie_around_and_move_inward_at_the_ends(self, score):
        rows = table(
            score(
                "--window",
                41,
                stdin=vcf(
                    (1, 1, other_base(1)), (150, 1, other_base(150)), (298, 1, other_base(298))
                ),
            )
        )
        assert [row["window"] for row in rows] == ["1-41", "130-170", "260-300"]
        short = table(score(stdin=vcf((3, "G", "T"), contig="chr2")))
        assert short[0]["window"] == f"1-{len(SHORT)}"

    def test_an_allele_like_the_reference_changes_nothing(self, score):
        result = score(
            "--strand", "both", stdin=vcf(*((at, 2, CONTIG[at - 1 : at + 1]) for at in (5, 77)))
        )
        assert [row["delta"] for row in table(result)] == ["0.000000"] * 2

    def test_ways_to_write_a_change_are_the_same(self, score):
        representations = [
            (101, "CA", "C"),
            (104, "AA", "A"),
            (102, "AAA", "AA"),
            (108, "AAG", "AG"),
        ]
        rows = table(score(stdin=vcf(*representations)))
        assert len({(row["delta"], row["normalized"]) for row in rows}) == 1
        assert [(row["pos"], row["ref"]) for row in rows] == [
            (str(p), ref) for p, ref, _ in representations
        ]

    @pytest.mark.parametrize("model", ["causal", "masked", "labels"])
    def test_the_other_strand_says_the_same(self, models, tmp_path, model):
        """With both strands, substitutions score as they do on the reverse complement of reference and alleles."""
        forward_positions = [3, 60, 131, 290]
        found = []
        for reverse in (False, True):
            contig = as_text(reverse_complement(as_letters(CONTIG))) if reverse else CONTIG
            (tmp_path / f"{reverse}.fa").write_text(f">1\n{contig}\n")
            variants = []
            for forward_position in forward_positions:
                position = len(CONTIG) + 1 - forward_position if reverse else forward_position
                alt = other_base(forward_position)
                alt = as_text(reverse_complement(as_letters(alt))) if reverse else alt
                variants.append((position, contig[position - 1], alt))
            command = ["score", "--model", models[model], "--reference", tmp_path / f"{reverse}.fa"]
            result = run(
                [*command, "--window", 41, "--strand", "both", "--device", "cpu"], vcf(*variants)
            )
            fields = [n for n in table(result)[0] if n == "delta" or n.startswith("kind:")]
            found.append([[row[name] for name in fields] for row in table(result)])
        assert found[0] == found[1]

    @pytest.mark.parametrize("model", ["causal", "masked", "labels"])
    def test_neither_batches_nor_pipes_nor_shards_matter(self, score, tmp_path, model):
        file = tmp_path / "v.vcf.gz"
        (tmp_path / "v.vcf").write_text(vcf(*VARIANTS))
        pysam.tabix_compress(str(tmp_path / "v.vcf"), str(file))
        expected = score("--window", 40, file, model=model)
        assert expected.stdout
        text = vcf(*VARIANTS)
        for size in (1, 3):
            assert (
                score("--window", 40, "--batch-size", size, model=model, stdin=text).stdout
                == expected.stdout
            )
        for threads in (1, 2):
            found = score("--window", 40, "--threads", threads, model=model, stdin=text)
            assert found.stdout == expected.stdout
        parts = [
            score("--window", 40, "--shard", f"{n}/3", model=model, stdin=text).stdout
            for n in (1, 2, 3)
        ]
        assert "".join(parts) == expected.stdout

    def test_a_masked_model_scores_the_bases_around(self, score):
        rows = table(
            score(
                "--flank",
                2,
                model="masked",
                stdin=vcf((50, 1, other_base(50)), (250, 1, CONTIG[249] + "TT")),
            )
        )
        assert [(row["ref_length"], row["alt_length"]) for row in rows] == [("5", "5"), ("4", "6")]
        (wide,) = table(score("--flank", 30, model="masked", stdin=vcf((50, 1, other_base(50)))))
        assert wide["ref_length"] == "61"
        assert wide["delta"] != rows[0]["delta"]

    def test_labels_change_by_their_log_odds(self, score):
        result = score(model="labels", stdin=vcf((50, 1, other_base(50))))
        (row,) = table(result)
        assert row["delta"] == "."
        for label in ("enhancer", "promoter", "silent"):
            name = f"kind:{label}"
            ref, alt = float(row[f"{name}:ref"]), float(row[f"{name}:alt"])
            assert float(row[name]) == pytest.approx(alt - ref, abs=2e-6)
        probabilities = [
            1 / (1 + math.exp(-float(row[f"kind:{x}:alt"])))
            for x in ("enhancer", "promoter", "silent")
        ]
        assert sum(probabilities) == pytest.approx(1, abs=1e-5)

    def test_the_vcf_keeps_its_records(self, score, tmp_path):
        file = tmp_path / "scored.vcf"
        text = vcf(*VARIANTS)
        result = score("--to", "vcf", "-o", file, "--window", 64, stdin=text)
        assert result.status == 0, result.stderr
        input_rows = [line.split("\t") for line in text.splitlines() if line[0] != "#"]
        output_rows = [line.split("\t") for line in file.read_text().splitlines() if line[0] != "#"]
        assert [row[:7] for row in output_rows] == [row[:7] for row in input_rows]
        rows = iter(table(score("--window", 64, stdin=text)))
        with pysam.VariantFile(str(file)) as stored:
            for entry in stored:
                assert entry.info["DP"] == "9" or entry.info["DP"] == 9
                for alt, delta in zip(entry.alts, entry.info["GENOMAI_DELTA"], strict=True):
                    expected = float(next(rows)["delta"]) if alt.isalpha() else None
                    assert delta == (
                        expected if expected is None else pytest.approx(expected, rel=1e-5)
                    )

    def test_scores_of_an_earlier_run_do_not_stay(self, score):
        earlier = vcf((50, 1, "<DEL>"), (60, 1, other_base(60))).replace(
            "DP=9", "DP=9;GENOMAI_DELTA=7"
        )
        result = score("--to", "vcf", "--window", 64, stdin=earlier)
        infos = [line.split("\t")[7] for line in result.stdout.splitlines() if line[0] != "#"]
        assert infos[0] == "DP=9"
        assert infos[1].startswith("DP=9;GENOMAI_REF=")
        assert "GENOMAI_DELTA=7" not in infos[1]


class TestMismatches:
    BAD = vcf(
        (50, 1, other_base(50)),
        (60, other_base(60), "T" if other_base(60) != "T" else "A"),
        (70, 1, other_base(70)),
    )

    def test_they_are_errors_that_name_the_record(self, score):
        result = score(stdin=self.BAD)
        assert result.status == 1
        assert result.stdout == ""
        last = result.stderr.splitlines()[-1]
        assert last.startswith(f"genomai score: <stdin>:4: 1:60 {other_base(60)}>")
        assert f"REF has {other_base(60)} where the reference has {CONTIG[59]} at chr1:60" in last

    def test_they_can_be_skipped(self, score):
        result = score("--skip-mismatches", stdin=self.BAD)
        assert [row["pos"] for row in table(result)] == ["50", "70"]
        assert f"warning: 1:60 {other_base(60)}>" in result.stderr
        assert "1 not as in the reference" in result.stderr

    def test_a_contig_that_the_reference_lacks(self, score):
        text = vcf((3, "G", "T"), contig="7")
        assert "<stdin>:3: 7:3 G>T: contig 7 is not in" in score(stdin=text).stderr
        assert score("--skip-mismatches", stdin=text).status == 0

    def test_alleles_longer_than_the_window_are_counted(self, score):
        result = score(
            "--window", 20, stdin=vcf((50, 1, CONTIG[49] + "ACGT" * 6), (60, 1, other_base(60)))
        )
        assert [row["pos"] for row in table(result)] == ["60"]
        assert "1 longer than the window" in result.stderr


class TestMutateAll:
    @pytest.fixture
    def regions(self, tmp_path):
        (tmp_path / "r.bed").write_text("1\t195\t205\tone\nchr2\t0\t4\n")
        return tmp_path / "r.bed"

    def test_rows_are_those_of_every_substitution(self, score, regions):
        rows = table(score("--mutate-all", "--regions", regions, "--window", 40))
        positions = [p for p in range(196, 206) if CONTIG[p - 1] != "N"]
        assert [int(row["pos"]) for row in rows] == [
            p for p in [*positions, 1, 2, 3, 4] for _ in range(3)
        ]
        text = vcf(*((p, 1, ",".join(b for b in "ACGT" if b != CONTIG[p - 1])) for p in positions))
        expected = table(score("--window", 40, stdin=text))
        assert rows[: len(expected)] == expected

    def test_hdf5_and_pictures(self, score, regions, tmp_path):
        options = ["--mutate-all", "--regions", regions, "--window", 40]
        rows = table(score(*options, "--plot", tmp_path / "p.svg"))
        result = score(
            *options, "--to", "hdf5", "-o", tmp_path / "m.h5", "--plot", tmp_path / "p.png"
        )
        assert result.status == 0, result.stderr
        assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")
        picture = (tmp_path / "p.svg").read_bytes()
        assert b"<svg" in picture
        assert score(*options, "--plot", tmp_path / "q.svg").status == 0
        assert (tmp_path / "q.svg").read_bytes() == picture
        with h5py.File(tmp_path / "m.h5") as file:
            deltas, letters = file["delta"][:], file["ref"].asstr()[:]
            assert file["contig"].asstr()[:].tolist() == ["1"] * 9 + ["chr2"] * 4
        expected = iter(float(row["delta"]) for row in rows)
        for delta, letter in zip(deltas, letters, strict=True):
            assert math.isnan(delta["ACGT".index(letter)])
            found = delta[~np.isnan(delta)]
            assert found == pytest.approx([next(expected) for _ in range(3)], rel=1e-4, abs=1e-5)

    def test_labels_have_a_picture_too(self, score, regions, tmp_path):
        options = ["--mutate-all", "--regions", regions, "--plot", tmp_path / "p.svg"]
        assert len(table(score(*options, model="labels"))) == 39

    def test_regions_over_the_end_are_refused(self, score, tmp_path):
        (tmp_path / "r.bed").write_text("2\t3\t40\n")
        result = score("--mutate-all", "--regions", tmp_path / "r.bed")
        assert result.status == 1
        assert "r.bed:1: 2:3-40 runs over the contig's end (11)" in result.stderr


class TestResume:
    """An interrupted run leaves FILE.partial, from which the same command goes on."""

    RECORDS = tuple(f">r{n}\n{CONTIG[n : n + 30 + n]}\n" for n in range(9))

    @pytest.fixture(autouse=True)
    def small_batches(self, monkeypatch):
        """Few records at a time, and each put on disk when it is done."""
        monkeypatch.setattr("genomai_cli.formats.row_journal.SECONDS_HELD", 0)
        for module in ("score", "variant_effects"):
            monkeypatch.setattr(f"genomai_cli.inference.{module}.STRETCHES_PER_BATCH", 2)

    def interrupted(self, score, out, *options, with_reference=False, text="", bad=""):
        """The result of a run that meets a bad record after the first ones."""
        keywords = dict(with_reference=with_reference)
        result = score("-o", out, *options, stdin=text + bad, **keywords)
        assert result.status == 1
        assert "the same command with --resume goes on" in result.stderr
        assert not out.exists()
        assert out.with_name(f"{out.name}.partial").is_dir()
        return result

    @pytest.mark.parametrize("track", ["b.bedgraph", "b.h5"])
    @pytest.mark.parametrize("name", ["x.tsv", "x.tsv.gz"])
    def test_sequences_and_values_of_their_bases(self, score, tmp_path, track, name):
        expected_table, out = tmp_path / f"whole-{name}", tmp_path / name
        text, expected_track = "".join(self.RECORDS), tmp_path / f"whole-{track}"
        track_options = ["--per-base", tmp_path / track]
        uninterrupted = score(
            "-o", expected_table, "--per-base", expected_track, stdin=text, with_reference=False
        )
        assert uninterrupted.status == 0, uninterrupted.stderr
        self.interrupted(score, out, *track_options, text="".join(self.RECORDS[:6]), bad=">x\n!\n")
        again = score("-o", out, *track_options, stdin=text, with_reference=False)
        assert again.status == 2
        assert "--resume goes on, --force starts over" in again.stderr
        other = score("-o", out, "--resume", stdin=text, with_reference=False)
        assert other.status == 1
        assert "was made in another way: per_base is True, not False" in other.stderr
        result = score("-o", out, *track_options, "--resume", stdin=text, with_reference=False)
        assert result.status == 0, result.stderr
        assert "6 records were done already" in result.stderr
        assert out.read_bytes() == expected_table.read_bytes()
        if track.endswith(".bedgraph"):
            assert (tmp_path / track).read_text() == expected_track.read_text()
        else:
            with h5py.File(tmp_path / track) as one, h5py.File(expected_track) as two:
                np.testing.assert_array_equal(one["values"][:], two["values"][:])
                assert one["ids"][:].tolist() == two["ids"][:].tolist()
        assert not out.with_name(f"{name}.partial").exists()

    @pytest.mark.parametrize("to", ["tsv", "vcf"])
    @pytest.mark.parametrize("model", ["causal", "labels"])
    def test_variants(self, score, tmp_path, to, model):
        expected, out, options = tmp_path / "whole", tmp_path / "out", ["--to", to, "--window", 40]
        text = vcf(*VARIANTS)
        assert score("-o", expected, *options, model=model, stdin=text).status == 0
        bad = "1\t400\t.\tN\tA\t.\t.\t.\n"
        lines = text.splitlines(keepends=True)
        result = score("-o", out, *options, model=model, stdin="".join(lines[:8]) + bad)
        assert "the same command with --resume goes on" in result.stderr
        result = score("-o", out, *options, "--resume", model=model, stdin=text)
        assert result.status == 0, result.stderr
        assert "records were done already" in result.stderr
        assert out.read_bytes() == expected.read_bytes()

    def test_other_records_are_refused_and_force_starts_over(self, score, tmp_path):
        out = tmp_path / "x.tsv"
        self.interrupted(score, out, text="".join(self.RECORDS[:6]), bad=">x\n!\n")
        text = "".join(self.RECORDS[1:])
        result = score("-o", out, "--resume", stdin=text, with_reference=False)
        assert result.status == 1
        assert "the input has no r0 of 30 letters where it had one" in result.stderr
        result = score("-o", out, "--force", stdin=text, with_reference=False)
        assert result.status == 0, result.stderr
        assert [row["id"] for row in self.rows(out)] == [f"r{n}" for n in range(1, 9)]

    def rows(self, file):
        header, *lines = (line.split("\t") for line in file.read_text().splitlines())
        return [dict(zip(header, line, strict=True)) for line in lines]

    @pytest.mark.parametrize("options", [[], ["--plot", "x.png", "-o", "x.tsv"]])
    def test_resume_of_other_outputs_is_refused(self, score, tmp_path, options):
        regions = tmp_path / "r.bed"
        regions.write_text("1\t0\t5\n")
        result = score("--resume", "--mutate-all", "--regions", regions, *options)
        assert result.status == 2
        assert "--resume and --force are for a table or VCF in a file" in result.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--regions r.bed --mutate-all", "need a --reference"),
        ("--reference r.fa --mutate-all", "--mutate-all and --regions go together"),
        ("--reference r.fa --to hdf5", "--to hdf5: not of a VCF"),
        ("--to vcf", "of sequences there is only a table"),
        ("--plot p.png", "--plot is for --mutate-all"),
        ("--reference r.fa --per-base b.h5", "--per-base is for sequences"),
        ("--reference r.fa --flank 3", "--flank is for the likelihood of masked models"),
        ("--flank 3", "--flank is for variants"),
        ("--only liver", "--only is for variants"),
        ("--organism human", "--organism is for variants"),
        ("--aggregation max", "--aggregation is for variants"),
        ("--reference r.fa --mutate-all --regions r.bed x.vcf", "leave the other variants out"),
        ("--shard 3/2", "--shard 3/2: I/N"),
    ],
)
def test_options_that_do_not_go_together(models, options, message):
    result = run(["score", "--model", models["causal"], *options.split()])
    assert result.status == 2, result.stderr
    assert message in result.stderr


def test_models_of_panels_are_refused(reference, tmp_path):
    (tmp_path / "s.fa").write_text(">a\nACGT\n")
    command = ["score", "--model", "genomai-v2", "--device", "cpu"]
    for result in (
        run([*command, tmp_path / "s.fa"]),
        run([*command, "--reference", reference], vcf((50, 1, other_base(50)))),
    ):
        assert result.status == 1
        assert result.stdout == ""
        assert "the model 'genomai-v2' does not read plain DNA" in result.stderr


def test_a_model_must_be_named():
    result = run("score x.fa")
    assert result.status == 2
    assert f"--model: name a model of DNA: {DNA_ENCODER}, " in result.stderr
    assert DNA_ENCODER in catalog.names()


@pytest.mark.parametrize("kind", ["sequences", "variants", "every substitution"])
def test_parquet_has_the_values_of_the_table(kind, models, reference, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    (tmp_path / "v.vcf").write_text(vcf(*VARIANTS))
    (tmp_path / "r.bed").write_text("chr1\t40\t60\n")
    command = ["score", "--model", models["masked" if kind == "sequences" else "labels"]]
    command += {
        "sequences": [reference],
        "variants": ["--reference", reference, tmp_path / "v.vcf"],
        "every substitution": ["--reference", reference, "--mutate-all", "--regions", tmp_path / "r.bed"],
    }[kind]  # fmt: skip
    text_run, parquet_run = run(command), run([*command, "-o", tmp_path / "x.parquet"])
    assert parquet_run.status == text_run.status == 0, parquet_run.stderr
    table = parquet.read_table(tmp_path / "x.parquet")
    header, *rows = text_run.rows
    assert table.column_names == header
    for found, expected in zip(zip(*table.to_pydict().values(), strict=True), rows, strict=True):
        for value, field in zip(found, expected, strict=True):
            if isinstance(value, float):
                assert value == float(field)
            else:
                assert ("." if value is None else str(value)) == field
    assert table.schema.metadata[b"model_sha256"]
    assert run([*command, "-o", tmp_path / "y.parquet", "--resume"]).status == 2


class TestPage:
    def test_of_sequences_beside_the_same_table(self, score, tmp_path):
        fasta, page = TestSequences.FASTA.replace(">b", "><b>"), tmp_path / "page.html"
        result = score("--report", page, stdin=fasta, with_reference=False)
        assert result.output == score(stdin=fasta, with_reference=False).output
        text = page.read_text()
        assert '<th scope="row">&lt;b&gt;</th><td class="n">5</td>' in text
        assert "2</b><span>without a score" in text

    @pytest.mark.parametrize("model", ["causal", "labels"])
    def test_of_variants_beside_the_same_table(self, score, tmp_path, model):
        page = tmp_path / "page.html"
        result = score("--report", page, model=model, stdin=vcf(*VARIANTS))
        assert result.output == score(model=model, stdin=vcf(*VARIANTS)).output
        rows, text = table(result), page.read_text()
        assert f"Effects of {len(rows)} alleles by" in text
        assert "Alleles without a score" in text
        assert text.count('<th scope="row">1:50</th>') == 3
        if model == "causal":
            assert f'<td class="n">{float(rows[0]["delta"]):.4f}</td>' in text
        else:
            assert "log odds of kind:enhancer" in text

    def test_the_largest_changes_are_kept_in_their_order(self):
        from genomai_cli.inference.score_report import TopRows

        top_rows = TopRows(3)
        for number, value in enumerate([1.0, 5.0, float("nan"), 3.0, 5.0, 2.0]):
            top_rows.add(value, (str(number),))
        assert top_rows.rows == [("1",), ("3",), ("4",)]
        assert top_rows.caption("x") == "3 of 6, x; the file that was written has all."

    def test_a_run_with_a_page_does_not_go_on(self, score, tmp_path):
        options = ["--report", tmp_path / "p.html", "-o", tmp_path / "o.tsv", "--resume"]
        result = score(*options, stdin=vcf(*VARIANTS))
        assert result.status == 2
        assert "without --plot and --report" in result.stderr
        assert list(tmp_path.iterdir()) == []

    def test_a_run_that_fails_leaves_no_page(self, score, tmp_path):
        result = score("--report", tmp_path / "p.html", stdin=vcf((50, other_base(50), "G")))
        assert result.status == 1
        assert list(tmp_path.iterdir()) == []
