"""No output overwrites an input or another output, however its path is spelled."""

import os
import re

import pytest
from conftest import run

from genomai_cli.cli.app import COMMANDS, load_command
from genomai_cli.cli.file_roles import OUTPUTS

FASTA = b">a\nACGTACGTACGT\n"


def options_of(command):
    """Its options, those of subcommands included."""
    yield from command.params
    for inner in getattr(command, "commands", {}).values():
        yield from options_of(inner)


def test_every_option_that_says_it_writes_is_known_as_an_output():
    for name in COMMANDS:
        for option in options_of(load_command(name)):
            help_text = getattr(option, "help", None) or ""
            says_so = re.search(r"\b(write|draw)\b", help_text, re.IGNORECASE)
            writes = says_so and "FILE" in str(option.metavar)
            assert not writes or option.name in OUTPUTS, f"{name}: {option.name}"


def hard_link(target, link):
    os.link(target, link)


def symbolic_link(target, link):
    link.symlink_to(target)


@pytest.mark.parametrize("option", ["-o", "--report-json"])
@pytest.mark.parametrize("spelling", ["same", "dots", "hard", "soft"])
@pytest.mark.parametrize(
    "command",
    ["tokenize", "classify", "augment --mask 0.1", "embed", "denoise", "score", "explain"],
)
def test_an_input_is_not_overwritten(tmp_path, command, option, spelling):
    source, target = tmp_path / "x.fa", tmp_path / "link"
    source.write_bytes(FASTA)
    (tmp_path / "sub").mkdir()
    if spelling in ("hard", "soft"):
        {"hard": hard_link, "soft": symbolic_link}[spelling](source, target)
    else:
        target = {"same": source, "dots": tmp_path / "sub" / ".." / "x.fa"}[spelling]
    result = run([*command.split(), source, option, target])
    assert result.status == 2
    assert "would overwrite the input" in result.stderr
    assert source.read_bytes() == FASTA


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("denoise x.fa -o y --changes ./y", "--changes and --output are the same file"),
        ("denoise x.fa --changes x.fa", "--changes would overwrite the input"),
        ("align x.fa --phenotypes p.tsv --attention p.tsv", "--attention would overwrite --phenotypes"),
        ("align x.fa --phenotypes p.tsv --plot x.fa", "--plot would overwrite the input"),
        ("generate --phenotype EUR --quality q.json -o q.json", "--output and --quality are the same file"),
        ("generate --phenotypes p.tsv -o p.tsv", "--output would overwrite --phenotypes"),
        ("classify x.fa -o y --q y.samples --report-json y.samples", "are the same file"),
        ("classify x.fa --q y --report-json y.samples", "--q and --report-json are the same file"),
        ("tokenize x.fa -o - --report-json /dev/stdout", "are the same file"),
        ("evaluate x.fa --truth p.tsv --report p.tsv", "--report would overwrite --truth"),
        ("evaluate x.fa --truth p.tsv -o e --report e", "--output and --report are the same file"),
        ("score --model n x.fa --report x.fa", "--report would overwrite the input"),
        ("predict --model n --reference x.fa --report ./x.fa", "--report would overwrite --reference"),
        ("generate --report p.html --quality p.html", "--quality and --report are the same file"),
        ("train x.fa --labels p.tsv -o m --force --report m/r.html", "--report would lie in --output"),
        ("pretrain x.fa -o n --report x.fa", "--report would overwrite the input"),
        ("train x.fa --labels m/l.tsv -o m", "--output would overwrite --labels"),
        ("tokenize x.fa --model ./m -o m/l.tsv", "--output would overwrite --model"),
    ],
)  # fmt: skip
def test_outputs_are_apart_from_all_files(tmp_path, monkeypatch, command, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "m").mkdir()
    for name in ("x.fa", "p.tsv", "m/l.tsv"):
        (tmp_path / name).write_bytes(FASTA)
    result = run(command)
    assert result.status == 2
    assert message in result.stderr
    assert {(tmp_path / name).read_bytes() for name in ("x.fa", "p.tsv", "m/l.tsv")} == {FASTA}


def test_devices_take_any_number_of_outputs(tmp_path):
    result = run("tokenize -o /dev/null --report-json /dev/null", FASTA)
    assert result.status == 0, result.stderr
