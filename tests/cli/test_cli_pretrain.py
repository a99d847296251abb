"""`genomai pretrain`: what it reads, the bundle it writes, what it refuses, runs that are killed or shared out."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from conftest import changes, run
from safetensors.torch import load_file

from genomai_cli.bundles import catalog
from genomai_cli.cli.training_options import stop_requests

pytestmark = pytest.mark.usefixtures("one_thread")
TINY = (
    "network.width=16 network.heads=2 network.layers=1 network.feed_forward=16 network.positions=48 "
    "tokenizer.k=3 optimization.steps=12 optimization.batch_size=8 optimization.evaluate_every=6 "
    "corpus.log_every=3 masked.span=1"
)
TINY_BARCODES = (
    "network.width=8 optimization.steps=6 optimization.batch_size=8 optimization.evaluate_every=3"
)


@pytest.fixture(scope="module")
def fasta(tmp_path_factory):
    """Three sequences of random DNA."""
    file = tmp_path_factory.mktemp("dna") / "dna.fa"
    rng = np.random.default_rng(3)
    sequences = ["".join(rng.choice(list("ACGT"), 900)) for _ in range(3)]
    file.write_text("".join(f">s{i}\n{sequence}\n" for i, sequence in enumerate(sequences)))
    return file


@pytest.fixture
def output(tmp_path):
    return tmp_path / "model"


@pytest.fixture
def pretrain(fasta, output):
    """Pretrains for a few steps, by default on the FASTA."""

    def run_pretrain(*options, inputs=None, settings=TINY, stdin=b""):
        files = [fasta] if inputs is None else inputs
        arguments = [
            "pretrain",
            *files,
            "-o",
            output,
            "--device",
            "cpu",
            *changes(settings),
            *options,
        ]
        return run(arguments, stdin)

    return run_pretrain


@pytest.fixture(scope="module")
def pretrained(fasta, tmp_path_factory):
    """A bundle pretrained in a second."""
    folder = tmp_path_factory.mktemp("models") / "pretrained"
    result = run(["pretrain", fasta, "-o", folder, "--device", "cpu", *changes(TINY)])
    assert result.status == 0, result.stderr
    return folder


def refused(result, status, message):
    """Whether a run ended with this status, one line that says why, and nothing on standard output."""
    assert result.status == status, result.stderr
    assert result.stdout == ""
    last = result.stderr.splitlines()[-1]
    assert message in last
    assert last.startswith("genomai pretrain: ")
    assert "unexpected" not in result.stderr
    return True


def log_of(folder):
    header, *rows = (line.split("\t") for line in (folder / "metrics.tsv").read_text().splitlines())
    return [dict(zip(header, row, strict=True)) for row in rows]


def without_clock(rows):
    return [
        {n: v for n, v in row.items() if n not in ("time", "tokens_per_second")} for row in rows
    ]


def weights(folder):
    return (folder / "model.safetensors").read_bytes()


class TestBundle:
    def test_it_is_complete(self, pretrained):
        assert {file.name for file in pretrained.iterdir()} == {
            "README.md", "config.json", "loss.png", "metrics.tsv", "model.safetensors", "recipe.toml"
        }  # fmt: skip
        assert catalog.problems(pretrained) == []
        assert not pretrained.with_name("pretrained.training").exists()
        assert (pretrained / "loss.png").read_bytes().startswith(b"\x89PNG")

    def test_the_card_compares_with_baselines(self, pretrained):
        card = (pretrained / "README.md").read_text()
        facts = json.loads((pretrained / "config.json").read_text())["provenance"]
        assert "3 records, 2,700 letters" in card
        assert f"read {facts['tokens']:,} tokens in 12 steps" in card
        for name in ("contrastive", "masked"):
            row = f"| {name} | {facts['held_out'][name]:.4f} | {facts['baseline'][name]:.4f} |"
            assert row in card
        assert "## Reproduce" in card

    def test_auxiliary_heads_have_tensors_of_their_own_and_are_not_counted(self, pretrained):
        tensors = load_file(pretrained / "model.safetensors")
        config = json.loads((pretrained / "config.json").read_text())
        auxiliary = {name for name in tensors if name.startswith("companions.")}
        assert {name.split(".")[1] for name in auxiliary} == {"contrastive", "masked"}
        counted = sum(tensors[name].numel() for name in tensors.keys() - auxiliary)
        assert config["trainable_parameters"] == counted
        assert config["companions"]["masked"] == {"kind": "words", "vocabulary": 67}

    def test_the_log_has_all_losses(self, pretrained):
        rows = log_of(pretrained)
        assert [row["step"] for row in rows] == ["3", "6", "9", "12"]
        assert [row["held_out"] == "." for row in rows] == [True, False, True, False]
        assert float(rows[1]["held_out"]) == pytest.approx(
            0.1 * float(rows[1]["held_out_contrastive"]) + float(rows[1]["held_out_masked"]),
            rel=1e-5,
        )

    def test_models_shows_it_and_classify_says_that_it_has_no_heads(self, pretrained, fasta):
        assert run(["models", "verify", pretrained]).rows[0][1] == "OK"
        result = run(["classify", "--model", pretrained, fasta])
        assert result.status == 1
        assert "has no heads: it was only pretrained" in result.stderr

    def test_train_begins_with_it(self, pretrained, fasta, tmp_path):
        labels = tmp_path / "labels.tsv"
        labels.write_text("name\tkind\n" + "".join(f"r{i}\t{'ab'[i % 2]}\n" for i in range(20)))
        reads = tmp_path / "reads.fa"
        rng = np.random.default_rng(2)
        sequences = ["".join(rng.choice(list("ACGT"), 34)) for _ in range(20)]
        reads.write_text("".join(f">r{i}\n{sequence}\n" for i, sequence in enumerate(sequences)))
        command = ["train", reads, "--labels", labels, "-o", tmp_path / "t", "--device", "cpu"]
        options = [*changes(f"{TINY} optimization.steps=1 optimization.learning_rate=0.0")]
        result = run([*command, "--recipe", "dna", "--model", pretrained, *options])
        assert result.status == 0, result.stderr
        before, after = (load_file(f / "model.safetensors") for f in (pretrained, tmp_path / "t"))
        name = "members.0.encoder.layers.0.linear1.weight"
        assert before[name].equal(after[name])
        assert json.loads((tmp_path / "t" / "config.json").read_text())["heads"] == {
            "kind": ["a", "b"]
        }


class TestInputs:
    def test_standard_input_and_several_files_teach_the_same(
        self, pretrain, pretrained, fasta, output, tmp_path
    ):
        assert pretrain(inputs=["-"], stdin=fasta).status == 0
        expected = weights(output)
        assert expected == weights(pretrained)
        records = fasta.read_text().split(">")[1:]
        parts = [tmp_path / f"{i}.fa" for i in range(3)]
        for part, record in zip(parts, records, strict=True):
            part.write_text(f">{record}")
        assert pretrain("--force", inputs=parts).status == 0
        assert weights(output) == expected

    def test_a_vcf_teaches_barcodes_as_their_fasta_does(self, pretrain, cohort, output, tmp_path):
        panel = ["--panel", cohort.panel]
        result = pretrain(*panel, inputs=[cohort.vcf], settings=TINY_BARCODES)
        assert result.status == 0, result.stderr
        config = json.loads((output / "config.json").read_text())
        assert (config["input"]["kind"], config["network"]["kind"]) == ("barcode", "sites")
        assert (output / "panel.tsv").is_file()
        from_vcf = weights(output)
        barcodes = tmp_path / "barcodes.fa"
        run(["tokenize", "--to", "fasta", cohort.vcf, *panel, "-o", barcodes])
        again = pretrain(
            *panel, "--recipe", "barcodes", "--force", inputs=[barcodes], settings=TINY_BARCODES
        )
        assert again.status == 0, again.stderr
        assert weights(output) == from_vcf

    def test_the_reference_model_is_trained_on_haplotypes(self, pretrain, cohort, output):
        settings = f"{TINY} network.head_width=8 network.positions=200"
        options = ["--recipe", "genomai-v2", "--objective", "contrastive", "--panel", cohort.panel]
        result = pretrain(*options, inputs=[cohort.vcf], settings=settings)
        assert result.status == 0, result.stderr
        corpus = json.loads((output / "config.json").read_text())["provenance"]["corpus"]
        assert (corpus["records"], corpus["by_record"]) == (150, True)

    def test_best_sites_need_labels(self, pretrain, cohort):
        options = ["--recipe", "genomai-v2", "--objective", "masked", "--set", "input.best_sites=5"]
        result = pretrain(*options, "--panel", cohort.panel, inputs=[cohort.vcf])
        assert refused(result, 1, "are chosen by labels")

    @pytest.fixture
    def haplotypes(self, tmp_path):
        """A reference, two regions of it, and a VCF of three samples."""
        reference, bed, vcf = (tmp_path / name for name in ("r.fa", "r.bed", "x.vcf"))
        rng = np.random.default_rng(1)
        reference.write_text(">1\n" + "".join(rng.choice(list("ACGT"), 600)) + "\n")
        bases = reference.read_text().split("\n")[1]
        bed.write_text("1\t0\t300\n1\t300\t600\n")
        lines = [
            f"1\t{p}\t.\t{bases[p - 1]}\t{'A' if bases[p - 1] != 'A' else 'C'}\t.\t.\t.\tGT\t0|1\t1|0\t1|1"
            for p in (50, 200, 400, 500)
        ]
        header = "##fileformat=VCFv4.2\n##contig=<ID=1>\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\tFORMAT"
        vcf.write_text(f"{header}\tp\tq\tr\n" + "\n".join(lines) + "\n")
        return reference, bed, vcf

    def test_haplotype_sequences_of_regions(self, pretrain, output, haplotypes):
        reference, bed, vcf = haplotypes
        result = pretrain("--reference", reference, "--regions", bed, inputs=[vcf])
        assert result.status == 0, result.stderr
        corpus = json.loads((output / "config.json").read_text())["provenance"]["corpus"]
        assert (corpus["records"], corpus["letters"], corpus["by_record"]) == (12, 3600, True)

    def test_a_run_goes_on_as_its_corpus_was_read(
        self, pretrain, haplotypes, tmp_path, monkeypatch
    ):
        """What would have read it otherwise is refused, and not passed over."""

        def interrupted(*_, context, **__):
            (context.work / "pretraining.pt").touch()
            raise KeyboardInterrupt

        monkeypatch.setattr("genomai_cli.training.pretraining.pretrain", interrupted)
        reference, bed, vcf = haplotypes
        regions = ["--reference", reference, "--regions", bed]
        assert pretrain(*regions, inputs=[vcf]).status == 130
        other = tmp_path / "other.bed"
        other.write_text("1\t0\t300\n")
        for options, message in (
            (["--reference", reference, "--regions", other], "other regions"),
            ([], "other regions"),
            ([*regions, "--min-gq", "20"], "other filters"),
        ):
            assert refused(pretrain("--resume", *options, inputs=[vcf]), 2, message)
        assert refused(pretrain("--resume", "--min-gq", "20", inputs=[]), 2, "other filters")
        assert pretrain("--resume", *regions, inputs=[vcf]).status == 130
        assert pretrain("--resume", inputs=[]).status == 130


class TestRefusals:
    @pytest.mark.parametrize(
        ("options", "message"),
        [
            (["--objective", "magic"], "no objective 'magic'"),
            (["--objective", "masked:0"], "is a weight above 0"),
            (["--objective", "masked:much"], "--objective masked:much"),
            (["--recipe", "sequences"], "no objectives to train with"),
            (["--panel", "x.tsv"], "--panel is for barcodes"),
            (["--regions", "r.bed"], "--regions needs a --reference"),
            (["--reference", "r.fa"], "has no use for it without --regions"),
            (["--set", "masked.share=2"], "masked.share is from 0.001 to 0.95"),
            (["--shard"], "start them with torchrun"),
            (["--model", "ancestry-967"], "has another tokenizer"),
        ],
    )
    def test_what_makes_no_sense(self, pretrain, output, options, message):
        result = pretrain(*options)
        assert result.status in (1, 2)
        assert refused(result, result.status, message)
        assert list(output.parent.iterdir()) == []

    @pytest.mark.parametrize("folder", [".", "..", "/"])
    def test_a_folder_without_a_name(self, fasta, tmp_path, monkeypatch, folder):
        monkeypatch.chdir(tmp_path)
        assert refused(run(["pretrain", fasta, "-o", folder, "--force"]), 2, "name the folder")
        assert list(tmp_path.iterdir()) == []

    def test_a_vcf_for_a_recipe_of_sequences(self, pretrain, cohort):
        result = pretrain("--recipe", "dna", inputs=[cohort.vcf])
        assert refused(result, 2, "with --reference and --regions")

    def test_a_row_of_another_length(self, pretrain, cohort, fasta):
        result = pretrain("--recipe", "barcodes", "--panel", cohort.panel, settings=TINY_BARCODES)
        assert refused(result, 1, f"{fasta}:1: s0 has 900 letters")

    def test_a_broken_file_leaves_nothing(self, pretrain, output, tmp_path):
        broken = tmp_path / "in" / "broken.fa"
        broken.parent.mkdir()
        broken.write_text(">a\nACGT\n>b\nAC!GT\n")
        assert refused(pretrain(inputs=[broken]), 1, f"{broken}:4: ")
        assert not output.with_name("model.training").exists()

    def test_a_loss_that_is_not_finite(self, pretrain, output):
        result = pretrain("--set", "optimization.learning_rate=1e30")
        assert refused(result, 1, "lower the learning rate")
        assert not output.exists()

    def test_an_existing_bundle_is_kept(self, pretrain, pretrained, output):
        shutil.copytree(pretrained, output)
        assert refused(pretrain(), 2, "--force replaces it")


def test_objectives_of_the_command_line_are_in_the_recipe(pretrain, output):
    assert pretrain("--objective", "masked:2,contrastive").status == 0
    facts = json.loads((output / "config.json").read_text())["provenance"]
    assert facts["objectives"] == {"masked": 2.0, "contrastive": 1.0}
    assert "objectives={masked = 2.0, contrastive = 1.0}" in (output / "recipe.toml").read_text()


def test_pretraining_goes_on_from_a_model(pretrain, pretrained, output):
    result = pretrain("--model", pretrained, "--set", "optimization.learning_rate=0.0")
    assert result.status == 0
    before, after = (load_file(folder / "model.safetensors") for folder in (pretrained, output))
    assert all(before[name].equal(after[name]) for name in before)


def test_progress_tells_losses_speed_and_time_left(pretrain):
    result = pretrain()
    assert result.output == b""
    assert "genomai pretrain: 3 records, 2,700 letters; " in result.stderr
    assert "step 6 of 12: loss " in result.stderr
    assert "tokens/s" in result.stderr
    assert "s left" in result.stderr
    assert pretrain("--force", "-q").stderr == ""


LONG = f"{TINY} optimization.steps=400 optimization.checkpoint_every=0.02 network.dropout=0.1"


@pytest.fixture(scope="module")
def long_run(fasta, tmp_path_factory):
    """The arguments of a run that can be interrupted, and the model of the uninterrupted run."""
    folder = tmp_path_factory.mktemp("long") / "model"
    arguments = ["pretrain", fasta, "--device", "cpu", "--threads", "1", *changes(LONG)]
    assert run([*arguments, "-q", "-o", folder]).status == 0
    return arguments, folder


def interrupted(arguments, output, number):
    """Run until the first checkpoint, then send the signal; the exit status and standard error."""
    command = [sys.executable, "-m", "genomai_cli", *map(str, arguments), "-o", str(output)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, stderr=subprocess.PIPE, env=environment)
    training_folder = output.with_name(f"{output.name}.training")
    while process.poll() is None and not (training_folder / "pretraining.pt").exists():
        time.sleep(0.005)
    process.send_signal(number)
    stderr = process.communicate(timeout=60)[1].decode()
    return process.returncode, stderr


@pytest.fixture
def default_interrupt():
    """Python's own handler of SIGINT, which a process in the background would ignore."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_a_second_signal_acts_as_usual(default_interrupt):
    with stop_requests() as stop:
        assert not stop()
        os.kill(os.getpid(), signal.SIGINT)
        assert stop()
        assert stop.exit_status == 130
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_an_interrupted_run_resumes_to_the_same_bytes(long_run, output, number):
    arguments, uninterrupted = long_run
    status, stderr = interrupted(arguments, output, number)
    if number == signal.SIGKILL:
        assert status == -signal.SIGKILL
    else:
        assert status == 128 + number
        assert "the same command with --resume goes on" in stderr.splitlines()[-1]
    assert not output.exists()
    assert refused(run([*arguments, "-o", output]), 2, "holds an interrupted run")
    assert refused(run([*arguments, "-o", output, "--resume", "--seed", "9"]), 2, "other seed")
    other = [*arguments, __file__, "-o", output, "--resume"]
    assert refused(run(other), 2, "other inputs")
    result = run([*arguments, "-o", output, "--resume"])
    assert result.status == 0, result.stderr
    assert weights(output) == weights(uninterrupted)
    assert without_clock(log_of(output)) == without_clock(log_of(uninterrupted))


def run_torchrun(arguments, *, shard=False):
    """The command run by two processes of torchrun, which must succeed."""
    torchrun = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "2",
    ]
    command = [
        *torchrun,
        "-m",
        "genomai_cli",
        *map(str, arguments),
        *(["--shard"] if shard else []),
    ]
    result = subprocess.run(
        command,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        check=False,
        timeout=200,
    )
    assert result.returncode == 0, result.stderr.decode()
    return result


@pytest.mark.slow
@pytest.mark.parametrize("shard", [False, True], ids=["ddp", "fsdp"])
def test_two_processes_learn_what_one_does(pretrain, fasta, output, tmp_path, shard):
    settings = f"{TINY} network.dropout=0.0 objectives.contrastive=1.0"
    assert pretrain(settings=settings).status == 0
    both = tmp_path / "both"
    run_torchrun(
        ["pretrain", fasta, "-o", both, "--device", "cpu", *changes(settings)], shard=shard
    )
    one, two = (load_file(folder / "model.safetensors") for folder in (output, both))
    assert one.keys() == two.keys()
    for name, tensor in one.items():
        if name.endswith(
            "in_proj_bias"
        ):  # that of the keys does nothing and follows rounding errors
            tensor[16:32] = two[name][16:32]
        assert tensor.allclose(two[name], atol=2e-5), name
    for alone, shared in zip(log_of(output), log_of(both), strict=True):
        assert alone["tokens"] == shared["tokens"]
        for column in (
            "loss_masked",
            "loss_contrastive",
            "held_out_masked",
            "held_out_contrastive",
        ):
            if alone[column] != ".":
                assert float(shared[column]) == pytest.approx(float(alone[column]), abs=1e-4)


def test_a_page_of_the_model(pretrain, output, tmp_path):
    page = tmp_path / "page.html"
    assert pretrain("--report", page).status == 0
    provenance = json.loads((output / "config.json").read_text())["provenance"]
    text = page.read_text()
    assert "Losses by step" in text
    for name, loss in provenance["held_out"].items():
        assert (
            f'<td class="n">{loss:.4f}</td><td class="n">{provenance["baseline"][name]:.4f}' in text
        )
