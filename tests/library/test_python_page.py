"""Every example of docs/python.md runs, one after the other, in a folder with the files that it names."""

import re
import shutil
from functools import partial
from importlib.util import find_spec

import likelihood_bundles
import numpy as np
import pytest
import tiny_causal
from conftest import REPOSITORY

import genomai_cli as genomai
from genomai_cli.backbones.sequence_ensemble import ConvolutionConfig
from genomai_cli.training import selection

PAGE = (REPOSITORY / "docs" / "python.md").read_text()
EXAMPLES = re.findall(r"^```python\n(.*?)^```$", PAGE, flags=re.MULTILINE | re.DOTALL)
NEEDS = {"to_pandas": "pandas", "to_anndata": "anndata", "sklearn": "sklearn", "Bio": "Bio"}


@pytest.fixture
def here(tmp_path, monkeypatch, one_thread, shipped_only):
    """The folder, and what the examples take for given."""
    small = partial(ConvolutionConfig, filters=8, channels=4, embedding=4)
    monkeypatch.setattr(selection, "ConvolutionConfig", small)
    monkeypatch.setattr(selection, "FOLDS", 2)
    monkeypatch.setattr(selection, "EPOCHS", 1)
    monkeypatch.setattr(selection, "LONGEST_KMER", {True: 2, False: 2})
    monkeypatch.chdir(tmp_path)
    tiny_causal.register(monkeypatch)
    for name in ("samples.vcf.gz", "samples.fa"):
        shutil.copy(REPOSITORY / "examples" / name, name)
    shutil.copy("samples.vcf.gz", "variants.vcf")
    rng, weights = np.random.default_rng(3), ([0.4, 0.1, 0.1, 0.4], [0.1, 0.4, 0.4, 0.1])
    classes = ["on" if number % 2 else "off" for number in range(40)]
    chances = [weights[kind == "on"] for kind in classes]
    sequences = ["".join(rng.choice(list("ACGT"), 40, p=chance)) for chance in chances]
    written = "".join(f">s{number}\n{text}\n" for number, text in enumerate(sequences))
    for name in ("promoters.fa", "more.fa"):
        (tmp_path / name).write_text(written)
    genomai.train(sequences, classes, time="1s", device="cpu").save("promoters")
    likelihood_bundles.saved(likelihood_bundles.causal(), tmp_path / "dna-model")
    (tmp_path / "reference.fa").write_text(">chr1\nACGTTGCAAGGCTTACCGA\n")
    columns = "#CHROM POS ID REF ALT QUAL FILTER INFO".replace(" ", "\t")
    row = "chr1\t9\t.\tA\tC\t.\t.\t.\n"
    (tmp_path / "small.vcf").write_text(f"##fileformat=VCFv4.2\n{columns}\n{row}")
    return {"sequences": sequences, "classes": classes}


@pytest.mark.filterwarnings("ignore::genomai_cli.errors.GenomaiWarning")
def test_every_example_runs(here, capsys):
    assert len(EXAMPLES) >= 10
    names = dict(here)
    for example in EXAMPLES:
        needed = (library for word, library in NEEDS.items() if word in example)
        if all(map(find_spec, needed)):
            exec(example, names)
    assert names["message"].startswith("<records>:2: 'E' is not a nucleotide letter")
    assert names["people"][0].name == "synthetic_GBR_1"
    assert names["calls"].names[0] == "synthetic_YRI_1"
    capsys.readouterr()
