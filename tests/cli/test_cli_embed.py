"""`genomai embed`: HDF5 and TSV, barcodes and DNA, adding to a file, going on after a kill, memory."""

import json
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress

import h5py
import numpy as np
import pytest
import torch
from conftest import REPOSITORY, peak_memory, run
from hypothesis import given, settings
from hypothesis import strategies as st
from random_bundle import random_bundle

from genomai_cli.bundles import bundle as bundles
from genomai_cli.bundles.writing import Extras
from genomai_cli.errors import InputError, UsageError
from genomai_cli.formats.embeddings import EmbeddingFile, NewRecords
from genomai_cli.formats.row_journal import RECORDS, ROWS, RowJournal
from genomai_cli.population.panel import Panel
from genomai_cli.records import SequenceRecord

pytestmark = pytest.mark.usefixtures("one_thread")
EXAMPLES = REPOSITORY / "examples"


def saved_model(folder, *, positions=32, **sizes):
    """The folder of a model of plain DNA with one layer and random weights."""
    small = {"heads": 1, "layers": 1, "feed_forward": 4}
    bundle = random_bundle(seed=3, positions=positions, **(small | sizes))
    bundles.save(bundle, folder, Extras("# random\n", ""))
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory, one_thread):
    return saved_model(tmp_path_factory.mktemp("models") / "random")


def sequence(length, seed=0):
    return "".join(np.random.default_rng([length, seed]).choice(list("ACGT"), length))


def fasta(path, names, length=50):
    entries = [f">{name} more words\n{sequence(length + n, n)}\n" for n, name in enumerate(names)]
    path.write_text("".join(entries))
    return path


@pytest.fixture
def genes(tmp_path):
    return fasta(tmp_path / "genes.fa", [f"gene{n}" for n in range(7)])


def embed(*arguments, stdin=b""):
    """`genomai embed`, which must succeed."""
    result = run(["embed", "--device", "cpu", *arguments], stdin)
    assert result.status == 0, result.stderr
    return result


def content(path):
    """Ids, vectors and attributes of an HDF5 file."""
    with h5py.File(path) as file:
        return file["ids"].asstr()[:].tolist(), file["embeddings"][:], dict(file.attrs)


# --- what comes out ---------------------------------------------------------------------------------


def test_hdf5(model, genes, tmp_path):
    embed("--model", model, genes, "-o", tmp_path / "x.h5")
    ids, vectors, attributes = content(tmp_path / "x.h5")
    assert ids == [f"gene{n}" for n in range(7)]
    assert vectors.shape == (7, 8)
    assert vectors.dtype == np.float32
    config = json.loads((model / "config.json").read_text())
    assert {name: value for name, value in attributes.items() if name != "program"} == {
        "format": "genomai embeddings",
        "format_version": 1,
        "model_name": "random",
        "model_version": "1",
        "model_sha256": config["files"]["model.safetensors"],
        "members": 1,
        "tokenizer": '{"kind": "kmers", "k": 3, "stride": 1}',
        "pooling": "mean",
        "layer": 1,
        "strand": "forward",
        "window": 34,
        "stride": 17,
        "window_weights": "words",
    }
    with h5py.File(tmp_path / "x.h5") as file:
        assert file["embeddings"].maxshape == (None, 8)
        assert file["ids"].dtype == h5py.string_dtype()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["genes.fa", "x.h5"]


def test_h5ls_reads_it(model, genes, tmp_path):
    if shutil.which("h5ls") is None:
        pytest.skip("h5ls is not installed")
    embed("--model", model, genes, "-o", tmp_path / "x.h5")
    listed = subprocess.run(["h5ls", tmp_path / "x.h5"], capture_output=True, text=True, check=True)
    assert [line.split() for line in listed.stdout.splitlines()] == [
        ["embeddings", "Dataset", "{7/Inf,", "8}"],
        ["ids", "Dataset", "{7/Inf}"],
    ]


def test_table(model, genes, tmp_path):
    rows = embed("--model", model, genes).rows
    assert rows[0] == ["id", *(f"e{n}" for n in range(1, 9))]
    embed("--model", model, genes, "-o", tmp_path / "x.h5")
    ids, vectors, _ = content(tmp_path / "x.h5")
    assert [row[0] for row in rows[1:]] == ids
    np.testing.assert_allclose(np.array([row[1:] for row in rows[1:]], float), vectors, rtol=1e-6)


def test_vectors_of_tokens(model, genes, tmp_path):
    embed("--model", model, "--per-token", "--strand", "both", genes, "-o", tmp_path / "x.h5")
    run(["tokenize", "--model", model, "--to", "hdf5", genes, "-o", tmp_path / "tokens.h5"])
    with h5py.File(tmp_path / "x.h5") as file, h5py.File(tmp_path / "tokens.h5") as tokens:
        assert file["offsets"].dtype == np.int64
        assert file["offsets"][:].tolist() == tokens["offsets"][:].tolist()
        assert file["tokens"].shape == (len(tokens["tokens"]), 8)
        assert file["ids"].asstr()[:].tolist() == tokens["ids"].asstr()[:].tolist()
        assert (file.attrs["pooling"], file.attrs["strand"]) == ("none", "both")
        vectors, offsets = file["tokens"][:], file["offsets"][:]
    rows = embed("--model", model, "--per-token", "--strand", "both", genes).rows
    assert rows[0][:3] == ["id", "token", "e1"]
    lengths = np.diff(offsets)
    expected = [(f"gene{n}", str(token)) for n, size in enumerate(lengths) for token in range(size)]
    assert [tuple(row[:2]) for row in rows[1:]] == expected
    np.testing.assert_allclose(np.array([row[2:] for row in rows[1:]], float), vectors, rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("x.h5", "hdf5"),
        ("x.hdf5", "hdf5"),
        ("x", "hdf5"),
        ("x.h5.gz", "gzip"),
        ("x.tsv", "table"),
        ("x.txt", "table"),
        ("x.tsv.gz", "gzip"),
    ],
)
def test_the_name_says_what_is_written(name, kind, model, genes, tmp_path):
    magic = {"hdf5": b"\x89HDF", "table": b"id\te1", "gzip": b"\x1f\x8b"}
    embed("--model", model, genes, "-o", tmp_path / name)
    assert (tmp_path / name).read_bytes().startswith(magic[kind])


def test_to_overrules_the_name(model, genes, tmp_path):
    embed("--model", model, genes, "--to", "tsv", "-o", tmp_path / "x.h5")
    assert (tmp_path / "x.h5").read_text().startswith("id\t")
    embed("--model", model, genes, "-o", tmp_path / "y.h5")
    result = embed("--model", model, genes, "--to", "hdf5")
    assert result.output == (tmp_path / "y.h5").read_bytes()


@pytest.mark.parametrize(
    "options", ["--batch-size 1", "--batch-size 3", "--threads 2", "--strand both --batch-size 2"]
)
def test_batches_and_threads_do_not_matter(options, model, genes, tmp_path):
    strand_options = ["--strand", "both"] if "strand" in options else []
    embed("--model", model, genes, "-o", tmp_path / "x.h5", *strand_options)
    try:
        embed("--model", model, genes, "-o", tmp_path / "y.h5", *options.split())
    finally:
        torch.set_num_threads(1)
    np.testing.assert_allclose(
        content(tmp_path / "x.h5")[1], content(tmp_path / "y.h5")[1], atol=1e-6
    )


def test_a_vcf_gives_what_its_barcodes_give(tiny_bundle, cohort):
    of_vcf = embed("--model", tiny_bundle, cohort.newcomers)
    barcodes = run(["tokenize", "--to", "fasta", "--panel", cohort.panel, cohort.newcomers])
    assert embed("--model", tiny_bundle, stdin=barcodes.output).output == of_vcf.output
    assert len(of_vcf.rows) == 1 + len(cohort.names)
    assert len(of_vcf.rows[0]) == 1 + 2 * 16  # two folds
    assert set(of_vcf.rows[-1][1:]) == {"nan"}  # nobody


def test_a_vcf_and_a_barcode_need_no_model():
    of_vcf = embed(EXAMPLES / "samples.vcf.gz")
    assert embed(EXAMPLES / "samples.fa").output == of_vcf.output
    assert len(of_vcf.rows[0]) == 1 + 32


def test_a_list_of_variants_is_told_at_the_sites_of_another_model():
    panel = Panel.read(REPOSITORY / "models" / "ancestry-967" / "panel.tsv")
    entries = (REPOSITORY / "examples" / "samples.fa").read_text().split(">")
    letters = "".join(entries[1].splitlines()[1:])
    variants_only = "".join(
        "N" if x == ref else x for x, ref in zip(letters, panel.ref, strict=True)
    )
    results = [
        run(["embed", "--model", "ancestry"], stdin=f">one\n{x}\n")
        for x in (letters, variants_only)
    ]
    assert [result.status for result in results] == [0, 0]
    assert ["VARIANTS_ONLY" in result.stderr for result in results] == [False, True]


def test_plain_dna_has_a_model_of_its_own(genes):
    result = run(["embed", genes])
    assert result.status == 0
    assert "gene0 belongs to no other installed model: model kmers" in result.stderr
    vectors = np.array([row[1:] for row in result.rows[1:]], float)
    assert vectors.shape == (7, 2 + 10 + 32 + 136 + 512 + 2080)
    assert np.allclose((vectors**2).sum(1), 1, atol=1e-5)


def test_dna_as_long_as_a_barcode_is_none():
    text = f">one\n{sequence(967)}\n"
    assert "model kmers" in run(["embed"], text).stderr
    refused = run(["embed", "--model", "ancestry-967"], text)
    assert (refused.status, refused.output) == (1, b"")
    assert "letters are no allele of their site" in refused.stderr


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f">a\n{'RYKM' * 20}\n", "a has 80 letters: no barcode"),
        (
            "".join(f">a{n}\n{sequence(80)}\n" for n in range(16)) + f">b\n{'N' * 967}\n",
            "b is a barcode, and the records before it",
        ),
    ],
)
def test_what_may_be_genotypes_is_no_plain_dna(text, message):
    result = run(["embed"], text)
    assert result.status == 1
    assert message in result.stderr


def test_records_that_cannot_be_read_are_told(model, tmp_path):
    text = f">a\n{sequence(40)}\n>b\nNNNNNNNNNN\n>c\nAC\n>a\n{sequence(40)}\n"
    report = tmp_path / "report.json"
    result = run(["embed", "--model", model, "--report-json", report], text)
    assert [row[0] for row in result.rows[1:]] == ["a", "b", "c", "a"]
    assert [set(row[1:]) == {"nan"} for row in result.rows[1:]] == [False, True, True, False]
    assert "warning: 2 records hold nothing that the model can read" in result.stderr
    run_record = json.loads(report.read_text())
    assert run_record["records"] == {"read": 4, "used": 2, "refused": 2}
    assert run_record["details"]["embedding"]["window"] == 34
    assert run_record["model"]["name"] == "random"


def test_bad_data_leave_nothing_behind(model, tmp_path):
    before = set(tmp_path.iterdir())
    text = f">a\n{sequence(40)}\n>b\nACGT!\n"
    for output in (["-o", tmp_path / "x.h5"], ["-o", tmp_path / "x.tsv"], [], ["--to", "hdf5"]):
        result = run(["embed", "--model", model, *output], text)
        assert result.status == 1
        assert "<stdin>:4: '!' is not a nucleotide letter" in result.stderr
        assert result.output == b""
    assert set(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--append", "--append, --resume and --force are for an HDF5 file"),
        ("--resume --to hdf5", "are for an HDF5 file"),
        ("--append -o {tmp}/x.tsv", "are for an HDF5 file"),
        ("--append -o {tmp}/x.h5.gz", "are for an HDF5 file"),
        ("--resume --force -o {tmp}/x.h5", "--force and --resume contradict each other"),
        ("--pool sum", "'sum' is not one of"),
        ("--strand reverse", "'reverse' is not one of"),
        ("--window 0", "Invalid value"),
        ("--window 35", "--window 35: this model reads windows of 3 to 34 letters"),
        ("--window 10 --stride 9", "--stride 9: windows of 10 letters may begin 1 to 8 letters apart"),
        ("--layer 2", "--layer 2: the model's layers are 0"),
        ("--per-token --pool max", "tokens are not pooled"),
    ],
)  # fmt: skip
def test_wrong_usage(options, message, model, genes, tmp_path):
    result = run(["embed", "--model", model, genes, *options.format(tmp=tmp_path).split()])
    assert result.status == 2
    assert message in " ".join(result.stderr.split())
    assert result.output == b""
    assert list(tmp_path.iterdir()) == [genes]


def test_a_barcode_model_refuses_what_needs_tokens_or_strands(tiny_bundle, cohort):
    for option in ("--per-token", "--pool max", "--strand both", "--window 100"):
        result = run(["embed", "--model", tiny_bundle, cohort.newcomers, *option.split()])
        assert result.status == 2
        assert "the model tiny " in result.stderr


def test_an_output_without_a_folder_is_refused_before_the_work(model, genes, tmp_path):
    result = run(["embed", "--model", model, genes, "-o", tmp_path / "no" / "x.h5"])
    assert result.status == 1
    assert "x.h5: cannot be written: its folder does not exist" in result.stderr


# --- adding to a file --------------------------------------------------------------------------------


def test_appending_adds_what_is_not_there(model, tmp_path):
    names = ["a", "b", "b", "c"]
    first = fasta(tmp_path / "first.fa", names)
    both = fasta(tmp_path / "both.fa", [*names, "b", "d"])
    for options in ([], ["--append"]):  # a file that is not there yet is begun
        embed("--model", model, first, "-o", tmp_path / "x.h5", *options)
        assert content(tmp_path / "x.h5")[0] == names
    result = embed("--model", model, both, "-o", tmp_path / "x.h5", "--append")
    assert "x.h5: 4 records were there already and are skipped" in result.stderr
    embed("--model", model, both, "-o", tmp_path / "whole.h5")
    assert (tmp_path / "x.h5").read_bytes() == (tmp_path / "whole.h5").read_bytes()
    before = (tmp_path / "x.h5").read_bytes()
    embed("--model", model, both, "-o", tmp_path / "x.h5", "--append")
    assert (tmp_path / "x.h5").read_bytes() == before


def test_appending_vectors_of_tokens(model, tmp_path):
    first, both = (fasta(tmp_path / n, names) for n, names in [("1.fa", "ab"), ("2.fa", "abc")])
    options = ["--model", model, "--per-token", "-o"]
    embed(first, *options, tmp_path / "x.h5")
    embed(both, *options, tmp_path / "x.h5", "--append")
    embed(both, *options, tmp_path / "whole.h5")
    assert (tmp_path / "x.h5").read_bytes() == (tmp_path / "whole.h5").read_bytes()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--pool max", "pooling is mean, not max"),
        ("--layer 0", "layer is 1, not 0"),
        ("--strand both", "strand is forward, not both"),
        ("--window 30 --stride 17", "window is 34, not 30"),
        ("--stride 3", "stride is 17, not 3"),
        ("--per-token", "per_token is False, not True; pooling is mean, not none"),
    ],
)
def test_other_settings_do_not_mix(options, message, model, genes, tmp_path):
    file = tmp_path / "x.h5"
    embed("--model", model, genes, "-o", file)
    before = file.read_bytes()
    result = run(["embed", "--model", model, genes, "-o", file, "--append", *options.split()])
    assert result.status == 1
    assert f"x.h5: was made in another way: {message}" in result.stderr
    assert file.read_bytes() == before


def test_another_model_does_not_mix(model, genes, tmp_path):
    file = tmp_path / "x.h5"
    embed("--model", model, genes, "-o", file)
    other = saved_model(tmp_path / "other", width=4)
    result = run(["embed", "--model", other, genes, "-o", file, "--append"])
    assert result.status == 1
    assert "model_sha256 is" in result.stderr
    assert "width is 8, not 4" in result.stderr


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: path.write_text("id\te1\n"), "cannot be read as HDF5"),
        (lambda path: h5py.File(path, "w").close(), "HDF5, but not of embeddings"),
    ],
)
def test_only_embeddings_can_be_added_to(make, message, model, genes, tmp_path):
    make(tmp_path / "x.h5")
    result = run(["embed", "--model", model, genes, "-o", tmp_path / "x.h5", "--append"])
    assert result.status == 1
    assert f"x.h5: {message}" in result.stderr


def test_without_append_the_file_is_replaced(model, genes, tmp_path):
    (tmp_path / "x.h5").write_text("something else")
    (tmp_path / "x.h5").chmod(0o640)
    embed("--model", model, genes, "-o", tmp_path / "x.h5")
    assert len(content(tmp_path / "x.h5")[0]) == 7
    assert (tmp_path / "x.h5").stat().st_mode & 0o777 == 0o640


# --- going on after an interruption --------------------------------------------------------------


@pytest.fixture
def killed(model, tmp_path):
    """A run over 60 sequences that was killed while it waited for the later ones; the command and both files."""
    full = fasta(tmp_path / "whole.fa", [f"s{n}" for n in range(60)], length=4000)
    command = [
        "embed",
        "--device",
        "cpu",
        "--model",
        str(model),
        "--per-token",
        "--layer",
        "0",
        "-o",
    ]
    output = tmp_path / "x.h5"
    program = [sys.executable, "-m", "genomai_cli", *command, str(output), "-"]
    with subprocess.Popen(program, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdin.write(b">" + b">".join(full.read_bytes().split(b">")[1:51]) + b">")
        process.stdin.flush()
        log = tmp_path / "x.h5.partial" / RECORDS
        deadline = time.monotonic() + 60
        while not (log.exists() and log.stat().st_size) and time.monotonic() < deadline:
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        process.communicate()
    assert process.returncode == -signal.SIGKILL
    return command, full, output


@pytest.mark.slow
def test_a_killed_run_goes_on(killed, tmp_path):
    command, full, output = killed
    assert not output.exists()
    assert len(np.fromfile(tmp_path / "x.h5.partial" / ROWS, "<f4")) > 0
    blocked = run([*command, output, full])
    assert blocked.status == 2
    assert "holds an interrupted run: --resume goes on, --force starts over" in blocked.stderr
    result = run([*command, output, full, "--resume"])
    assert result.status == 0, result.stderr
    skipped = int(result.stderr.split("x.h5: ")[1].split()[0])
    assert 0 < skipped < 60
    assert run([*command, tmp_path / "unbroken.h5", full]).status == 0
    assert output.read_bytes() == (tmp_path / "unbroken.h5").read_bytes()
    assert not (tmp_path / "x.h5.partial").exists()


def attributes(**changes):
    return {"model_name": "m", "pooling": "mean", **changes}


def rows(*values):
    return np.array(values, np.float32)[:, None] * np.ones(3, np.float32)


def interrupted(target, records, **options):
    """A run that fails after it has put these records on disk."""
    file = EmbeddingFile(target, attributes(), 3, **options)
    with suppress(KeyError), file:
        for name, *values in records:
            file.add(name, rows(*values))
        file._journal.flush()
        raise KeyError
    return file


def test_an_interrupted_addition_leaves_the_file_as_it_was(tmp_path):
    target = tmp_path / "x.h5"
    with EmbeddingFile(target, attributes(), 3) as file:
        file.add("a", rows(1))
    before = target.read_bytes()
    assert interrupted(target, [("b", 2)], append=True).stored_count == 1
    assert target.read_bytes() == before
    with EmbeddingFile(target, attributes(), 3, resume=True) as file:
        assert list(file.names()) == ["a", "b"]
        assert file.record_count == 2
        file.add("c", rows(3))
    ids, vectors, _ = content(target)
    assert ids == ["a", "b", "c"]
    assert vectors[:, 0].tolist() == [1, 2, 3]


def test_a_run_that_was_to_replace_a_file_does_not_add_to_it(tmp_path):
    target = tmp_path / "x.h5"
    with EmbeddingFile(target, attributes(), 3) as file:
        file.add("a", rows(1))
    interrupted(target, [("b", 2)])
    with pytest.raises(UsageError, match=r"was to replace x\.h5: --resume goes on"):
        EmbeddingFile(target, attributes(), 3, append=True)
    with EmbeddingFile(target, attributes(), 3, resume=True) as file:
        assert list(file.names()) == ["b"]
    assert content(target)[0] == ["b"]


@pytest.mark.parametrize(
    ("options", "expected"),
    [({"resume": True}, ["a", "b"]), ({"append": True}, ["a", "b"]), ({"force": True}, ["b"])],
)
def test_an_interrupted_new_file_goes_on_or_starts_over(options, expected, tmp_path):
    target = tmp_path / "x.h5"
    assert interrupted(target, [("a", 1)]).stored_count == 1
    assert [path.name for path in tmp_path.iterdir()] == ["x.h5.partial"]
    with EmbeddingFile(target, attributes(), 3, **options) as file:
        file.add("b", rows(2))
    assert content(target)[0] == expected
    assert [path.name for path in tmp_path.iterdir()] == ["x.h5"]


def test_another_run_is_not_resumed(tmp_path):
    interrupted(tmp_path / "x.h5", [("a", 1)])
    with pytest.raises(InputError, match="pooling is mean, not max"):
        EmbeddingFile(tmp_path / "x.h5", attributes(pooling="max"), 3, resume=True)
    with pytest.raises(InputError, match="width is 3, not 4"):
        EmbeddingFile(tmp_path / "x.h5", attributes(), 4, resume=True)


def test_two_runs_do_not_write_to_one_folder(tmp_path):
    first = RowJournal(tmp_path / "x.partial", {}, 3)
    first.add("a", rows(1))
    first.flush()
    second = RowJournal(tmp_path / "x.partial", {}, 3)
    with pytest.raises(InputError, match="another run is writing there"):
        second.resume()
    second.close()
    first.close()


def test_no_records_are_a_file_without_rows(tmp_path):
    for per_token in (False, True):
        with EmbeddingFile(tmp_path / "x.h5", attributes(), 3, per_token=per_token):
            pass
        with h5py.File(tmp_path / "x.h5") as file:
            assert file["tokens" if per_token else "embeddings"].shape == (0, 3)
            assert file["ids"].shape == (0,)
            assert not per_token or file["offsets"][:].tolist() == [0]


def test_a_short_run_that_fails_leaves_nothing(tmp_path):
    file = EmbeddingFile(tmp_path / "x.h5", attributes(), 3)
    with suppress(KeyError), file:
        file.add("a", rows(1))
        raise KeyError
    assert file.stored_count == 0
    assert list(tmp_path.iterdir()) == []


JOURNAL = [("a", [1, 2]), ("b", []), ("long name", [3]), ("a", [4, 5, 6]), ("\udcff", [7])]


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_a_journal_cut_anywhere_holds_whole_records(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("journal") / "x.partial"
    journal = RowJournal(folder, {}, 3)
    for name, values in JOURNAL:
        journal.add(name, rows(*values) if values else np.zeros((0, 3), np.float32))
        if data.draw(st.booleans()):
            journal.flush()
    journal.flush()
    journal.close()
    for name in (ROWS, RECORDS):
        size = (folder / name).stat().st_size
        with (folder / name).open("r+b") as file:
            file.truncate(data.draw(st.integers(0, size)))
    resumed = RowJournal(folder, {}, 3)
    resumed.resume()
    record_count = resumed.record_count
    resumed.add("new", rows(9))
    resumed.flush()
    records, blocks = list(resumed.records()), list(resumed.blocks())
    resumed.close()
    assert records == [(name, len(values)) for name, values in JOURNAL[:record_count]] + [
        ("new", 1)
    ]
    expected = [value for _, values in JOURNAL[:record_count] for value in values] + [9]
    assert np.concatenate(blocks).tolist() == rows(*expected).tolist()


def test_rows_of_a_record_that_is_not_finished_are_cut_off(tmp_path):
    journal = RowJournal(tmp_path / "x.partial", {}, 3)
    journal.add("a", rows(1))
    journal.add("b", rows(2, 3), last=False)
    journal.flush()
    journal.close()
    resumed = RowJournal(tmp_path / "x.partial", {}, 3)
    resumed.resume()
    assert (resumed.record_count, resumed.row_count) == (1, 1)
    assert [block.tolist() for block in resumed.blocks()] == [rows(1).tolist()]
    resumed.close()


def test_records_are_passed_over_as_often_as_they_are_there():
    unseen = NewRecords(["a", "b", "a"])
    records = [SequenceRecord(name, "ACGT") for name in "aabca"]
    assert [record.name for record in unseen.filter(records)] == ["c", "a"]
    assert unseen.skipped == 3


def test_ids_are_utf8_whatever_the_names_were(model, tmp_path):
    text = b">caf\xc3\xa9\nACGTACGT\n>\xff\nACGTACGT\n"
    for options in ([], ["--append"]):
        embed("--model", model, "-o", tmp_path / "x.h5", *options, stdin=text)
        assert content(tmp_path / "x.h5")[0] == ["caf\u00e9", "\\xff"]


# --- memory --------------------------------------------------------------------------------------


@pytest.mark.slow
def test_memory_does_not_grow_with_the_length(tmp_path):
    """Reading takes three bytes a letter; all windows of both strands at once would take hundreds of MB."""
    model = saved_model(tmp_path / "long", k=8, stride=8, positions=1024, width=4)
    for millions in (1, 20):
        text = f">chromosome\n{sequence(1000) * 1000 * millions}\n"
        (tmp_path / f"{millions}.fa").write_text(text)
    command = [
        "embed",
        "--model",
        model,
        "--stride",
        "8192",
        "--layer",
        "0",
        "-o",
        tmp_path / "x.h5",
    ]
    baseline = peak_memory([*command, tmp_path / "1.fa"])
    for options in (["--strand", "both"], ["--per-token"]):
        assert peak_memory([*command, tmp_path / "20.fa", *options]) - baseline < 120


def test_vectors_of_tokens_in_parquet_are_those_of_the_table(model, genes, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    command = ["embed", "--model", model, "--per-token", genes]
    _, *expected = run(command).rows
    assert run([*command, "-o", tmp_path / "x.parquet"]).status == 0
    table = parquet.read_table(tmp_path / "x.parquet").to_pylist()
    for row, expected_row in zip(table, expected, strict=True):
        numbers = [f"{x:.7g}" for x in row["embedding"]]
        assert [row["id"], str(row["token"]), *numbers] == expected_row
