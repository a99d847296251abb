"""What variants change of splicing: sites, usage and junctions of both alleles, laid on each other."""

import re

import h5py
import numpy as np
import pytest
import torch
from conftest import run

from genomai_cli.alphabet import complement
from genomai_cli.backbones.alphagenome import AlphaGenomeNetwork
from genomai_cli.backbones.alphagenome_layers import AlphaGenomeConfig
from genomai_cli.backbones.base import complete_config
from genomai_cli.backbones.classifier import Classifier, Fusion
from genomai_cli.bundles.bundle import Bundle, save
from genomai_cli.bundles.writing import Extras
from genomai_cli.formats.indexed_fasta import open_reference
from genomai_cli.formats.track_table import Track
from genomai_cli.formats.variant_alleles import AlleleRecord, Change
from genomai_cli.inference.likelihood import Stretch
from genomai_cli.inference.scorers import ScoringOptions, scorer_for
from genomai_cli.inference.splice_effects import PSEUDOCOUNT, SpliceEffects, aligned_to_reference
from genomai_cli.inference.track_readers import track_reader
from genomai_cli.inference.variant_effects import (
    AllelePair,
    LocatedValues,
    ReferenceLookup,
    Scorer,
    effects,
)
from genomai_cli.inputs.tracks import TrackInput

WINDOW = 2048
TRACKS = (
    Track("donor+", assay="splice_sites", strand="+"),
    Track("acceptor+", assay="splice_sites", strand="+"),
    Track("donor-", assay="splice_sites", strand="-"),
    Track("acceptor-", assay="splice_sites", strand="-"),
    Track("used+", assay="splice_site_usage", strand="+", tissue="liver"),
    Track("used-", assay="splice_site_usage", strand="-", tissue="liver"),
    Track("liver", assay="splice_junctions"),
    Track("brain", assay="splice_junctions"),
    Track("open", assay="dnase"),
)
SIZES = {
    "width": 4, "growth": 2, "blocks": 1, "heads": 2, "key_size": 4, "value_size": 4, "pair_width": 3,
    "pair_heads": 2, "pair_key_size": 4, "distances": 1, "max_tokens": WINDOW // 128, "organisms": 1,
    "junction_width": 4, "splice_sites": 24, "splice_threshold": 0.15,
    "tracks": {"dnase": 1, "splice_sites": 5, "splice_site_usage": 2, "splice_junctions": 2},
}  # fmt: skip
TEXT = "".join(np.random.default_rng(3).choice(list("ACGT"), 5000))
KINDS = ("donor+", "acceptor+", "donor-", "acceptor-")


def bundle_of(**sizes):
    torch.manual_seed(7)
    sizes = SIZES | sizes
    network = AlphaGenomeNetwork(AlphaGenomeConfig(**sizes)).eval().requires_grad_(False)
    network.tracks.splice_sites.weight.mul_(4)
    for parameter in network.tracks.splice_junctions.rope_params.values():
        torch.nn.init.normal_(parameter)
    config = {
        "name": "tiny", "version": "1", "input": {"kind": "tracks"}, "members": 1, "heads": {},
        "tokenizer": {"kind": "characters"}, "network": complete_config({"kind": "alphagenome"} | sizes),
    }  # fmt: skip
    return Bundle(config, Classifier([network], Fusion({}, {}), None, None), TrackInput(TRACKS))


@pytest.fixture(scope="module")
def bundle():
    return bundle_of()


@pytest.fixture(scope="module")
def folder(tmp_path_factory, bundle):
    folder = tmp_path_factory.mktemp("splicing")
    save(bundle, folder / "model", Extras("", ""))
    (folder / "ref.fa").write_text(f">a\n{TEXT}\n")
    (folder / "later.fa").write_text(f">a\n{'ACGTT' * 100}{TEXT}\n")
    return folder


def pair_of(start, ref, alt, begin=1000, size=WINDOW):
    """The windows of a change of `TEXT`, of one length."""
    assert TEXT[start : start + len(ref)] == ref
    end = begin + size
    after = TEXT[start + len(ref) : end + len(ref) - len(alt)]
    texts = TEXT[begin:end], TEXT[begin:start] + alt + after
    change = Change("a", start, ref, alt)
    return AllelePair(change, begin, *map(Stretch, texts), start - begin, start - begin)


def other_than(letter):
    return "ACGT"[("ACGT".index(letter) + 1) % 4]


def score(folder, position, ref, alt, *more, reference="ref.fa"):
    vcf = "##fileformat=VCFv4.2\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"
    (folder / "v.vcf").write_text(f"{vcf}a\t{position}\t.\t{ref}\t{alt}\t.\t.\t.\n")
    arguments = ["--model", folder / "model", "--reference", folder / reference, folder / "v.vcf"]
    result = run(["score", *arguments, *more])
    assert result.status == 0, result.stderr
    return result


def row_of(result):
    header, row = (line.split("\t") for line in result.stdout.splitlines())
    return dict(zip(header, row, strict=True))


def heads(bundle, text):
    network = bundle.classifier.networks[0]
    ids = torch.from_numpy(bundle.tokenizer.encode(text)).long()[None]
    predictions = network.predict(ids)
    return {
        "sites": predictions["splice_sites_classification"]["predictions"][0, :, :4].numpy(),
        "usage": predictions["splice_sites_usage"]["predictions"][0].numpy(),
    }


class TestAlignment:
    VALUES = np.arange(12, dtype=np.float32)[:, None] + 1

    def aligned(self, ref, alt, start=4, alt_at=4):
        change = Change("a", start, ref, alt)
        pair = AllelePair(change, 0, Stretch("A" * 12), Stretch("A" * 12), start, alt_at)
        return [
            None if np.isnan(v) else int(v) for v in aligned_to_reference(self.VALUES, pair)[:, 0]
        ]

    def test_letters_stand_for_themselves(self):
        assert self.aligned("A", "C") == list(range(1, 13))
        assert self.aligned("AC", "GT") == list(range(1, 13))

    def test_a_deleted_letter_is_no_site_and_what_follows_moves_up(self):
        assert self.aligned("AC", "") == [1, 2, 3, 4, 0, 0, 5, 6, 7, 8, 9, 10]
        assert self.aligned("ACG", "T") == [1, 2, 3, 4, 5, 0, 0, 6, 7, 8, 9, 10]

    def test_inserted_letters_count_at_the_one_before_and_what_is_pushed_out_is_unknown(self):
        assert self.aligned("", "AC") == [1, 2, 3, 6, 7, 8, 9, 10, 11, 12, None, None]
        assert self.aligned("A", "TTT") == [1, 2, 3, 4, 7, 8, 9, 10, 11, 12, None, None]
        assert self.aligned("", "AC", start=0, alt_at=0)[:2] == [3, 4]

    def test_a_window_that_begins_earlier(self):
        assert self.aligned("AC", "", alt_at=6) == [3, 4, 5, 6, 0, 0, 7, 8, 9, 10, 11, 12]


class RecordingContrasts:
    """Contrasts that record the pairs of alleles that they are called with."""

    labels, location_names, description = ["x"], ["x:distance"], ""

    def __init__(self):
        self.pairs = []

    def of(self, pair):
        self.pairs.append(pair)
        return LocatedValues(np.zeros(1), np.zeros(1), ["0"])


def test_letters_of_either_window_stand_for_the_same_base_of_the_genome(folder):
    """Of random substitutions, insertions and deletions, close to the ends of the contig as well."""
    rng = np.random.default_rng(0)
    records = []
    for number in range(200):
        start = int(
            rng.choice([rng.integers(0, 40), rng.integers(0, 4900), rng.integers(4900, 4980)])
        )
        ref = TEXT[start : start + int(rng.integers(1, 20))]
        alt = "".join(rng.choice(list("ACGT"), int(rng.integers(1, 20))))
        alt = {0: alt, 1: ref[0], 2: ref + alt}[number % 3]
        records.append(AlleleRecord("a", start + 1, ref, (alt,), "v.vcf", number))
    contrasts = RecordingContrasts()
    scorer = Scorer(None, None, window=WINDOW, flank=8, step=2048, contrasts=contrasts)
    with open_reference(folder / "ref.fa") as reference:
        list(effects(records, ReferenceLookup(reference), scorer))
    assert len(contrasts.pairs) == 200
    for pair in contrasts.pairs:
        assert len(pair.ref.text) == len(pair.alt.text) == WINDOW
        assert pair.ref.text == TEXT[pair.begin : pair.begin + WINDOW]
        codes = np.frombuffer(pair.alt.text.encode(), np.uint8).astype(np.float32)[:, None]
        aligned = aligned_to_reference(codes, pair)[:, 0]
        reference_codes = np.frombuffer(pair.ref.text.encode(), np.uint8)
        end = pair.ref_at + len(pair.change.ref)
        outside = np.ones(WINDOW, bool)
        outside[max(0, pair.ref_at - 1) : end + 1] = False
        known = outside & ~np.isnan(aligned)
        assert np.array_equal(aligned[known], reference_codes[known])
        assert np.isnan(aligned).sum() <= 20
        common = min(len(pair.change.ref), len(pair.change.alt))
        assert (aligned[pair.ref_at + common : end] == 0).all() or len(pair.change.alt) > common


@pytest.mark.parametrize("start", [0, 4700, 4990, 4999])
def test_a_long_insertion_at_the_end_of_a_contig_has_a_window_as_long(folder, start):
    added = "".join(np.random.default_rng(1).choice(list("ACGT"), 900))
    record = AlleleRecord("a", start + 1, TEXT[start], (TEXT[start] + added,), "v.vcf", 1)
    contrasts = RecordingContrasts()
    scorer = Scorer(None, None, window=WINDOW, flank=8, step=2048, contrasts=contrasts)
    with open_reference(folder / "ref.fa") as reference:
        list(effects([record], ReferenceLookup(reference), scorer))
    (pair,) = contrasts.pairs
    changed = TEXT[: start + 1] + added + TEXT[start + 1 :]
    assert len(pair.ref.text) == len(pair.alt.text) == WINDOW
    assert changed[pair.change.start - pair.alt_at :].startswith(pair.alt.text)
    codes = np.frombuffer(pair.alt.text.encode(), np.uint8).astype(np.float32)[:, None]
    aligned = aligned_to_reference(codes, pair)[: pair.ref_at - 1, 0]
    reference_codes = np.frombuffer(pair.ref.text.encode(), np.uint8)[: pair.ref_at - 1]
    assert (np.isnan(aligned) | (aligned == reference_codes)).all()


class TestSites:
    def test_the_base_that_changes_most_anywhere_in_the_window(self, folder, bundle):
        alt = other_than(TEXT[2499])
        row = row_of(score(folder, 2500, TEXT[2499], alt))
        begin = 2499 - WINDOW // 2
        text = TEXT[begin : begin + WINDOW]
        mutant = text[: WINDOW // 2] + alt + text[WINDOW // 2 + 1 :]
        before, after = heads(bundle, text), heads(bundle, mutant)
        columns = [(f"splice_sites/{kind}", "sites", n) for n, kind in enumerate(KINDS)]
        columns += [(f"splice_site_usage/used{s}", "usage", n) for n, s in enumerate("+-")]
        for name, output, column in columns:
            ref, changed = before[output][:, column], after[output][:, column]
            position = int(np.abs(changed - ref).argmax())
            assert float(row[name]) == pytest.approx(changed[position] - ref[position], abs=2e-6)
            assert float(row[f"{name}:ref"]) == pytest.approx(ref[position], abs=2e-6)
            assert int(row[f"{name}:distance"]) == position - WINDOW // 2
        assert not {"tracks/donor+", "largest/donor+"} & row.keys()
        assert "tracks/open" in row

    def test_only_so_far_from_the_variant(self, folder):
        alt = other_than(TEXT[2499])
        row = row_of(score(folder, 2500, TEXT[2499], alt, "--flank", "3", "--only", "splice_sites"))
        assert all(abs(int(row[f"splice_sites/{kind}:distance"])) <= 3 for kind in KINDS)

    @pytest.mark.parametrize(("length", "alt"), [(1, "CCATTACACC"), (1, "CGATTACAGG"), (6, "")])
    def test_what_an_indel_shifts_is_no_change(self, bundle, monkeypatch, length, alt):
        """Where each letter's value is its own, only what the change itself brings differs."""
        reader = track_reader(bundle)
        original = reader.splicing

        def splicing(text, columns, tissues):
            values_L1 = np.array([[letter == "G"] for letter in text], np.float32)
            return original(text, columns, tissues)._replace(values=values_L1)

        monkeypatch.setattr(reader, "splicing", splicing)
        start = re.search("[ACT]{6}", TEXT[1500:]).start() + 1500
        pair = pair_of(start, TEXT[start : start + length], alt)
        effect = SpliceEffects(reader, [0], both_strands=False).of(pair)
        assert (effect.ref[0], effect.alt[0]) == ((0, 1) if "G" in alt else (effect.ref[0],) * 2)
        if "G" in alt:
            assert effect.locations == ("0",)

    def test_an_allele_that_changes_nothing_does_so_nowhere(self, bundle):
        reader = track_reader(bundle)
        pair = pair_of(2020, TEXT[2020], TEXT[2020])
        columns = list(reader.splicing_heads)
        effect = SpliceEffects(reader, columns, both_strands=False).of(pair)
        assert set(effect.locations) == {"."}
        assert np.array_equal(effect.ref, effect.alt)


class TestJunctions:
    def expected(self, bundle, pair, reach=128):
        """The same from the heads' outputs, junction by junction."""
        network = bundle.classifier.networks[0]
        head = network.tracks.splice_junctions
        site_probabilities = [heads(bundle, one.text)["sites"] for one in (pair.ref, pair.alt)]
        max_probabilities = np.maximum(*site_probabilities)
        positions = []
        for kind in range(4):
            order = np.argsort(-max_probabilities[:, kind], kind="stable")[: head.max_sites]
            positions.append(
                sorted(p for p in order.tolist() if max_probabilities[p, kind] >= head.threshold)
            )
        max_count = max(map(len, positions))
        padded = torch.tensor([[*p, *[-1] * (max_count - len(p))] for p in positions])[None]
        counts = []
        for text in (pair.ref.text, pair.alt.text):
            ids = torch.from_numpy(bundle.tokenizer.encode(text)).long()[None]
            embeddings = network.embeddings(ids, torch.tensor([0]))
            counts.append(head.counts(embeddings.bases, padded, torch.tensor([0]))[0].numpy())
        rows = []
        for strand in (0, 1):
            for d, donor in enumerate(positions[2 * strand]):
                for a, acceptor in enumerate(positions[2 * strand + 1]):
                    left, right = (donor, acceptor) if strand == 0 else (acceptor, donor)
                    if (
                        right - left < 2
                        or left > pair.ref_at + reach
                        or right < pair.ref_at - reach
                    ):
                        continue
                    ref, alt = (np.log(c[d, a, 2 * strand :][:2] + PSEUDOCOUNT) for c in counts)
                    name = f"{pair.begin + left + 2}-{pair.begin + right}:{'+-'[strand]}"
                    rows.append((name, ref, alt))
        return rows

    def test_the_largest_log_fold_change_by_tissue_of_common_junctions(self, bundle):
        start = 2020
        pair = pair_of(start, TEXT[start], other_than(TEXT[start]))
        reader = track_reader(bundle)
        effect = SpliceEffects(reader, [6, 7], both_strands=False).of(pair)
        expected = self.expected(bundle, pair)
        assert len(expected) > 10
        assert {name[-1] for name, *_ in expected} == {"+", "-"}
        for tissue in (0, 1):
            name, ref, alt = max(expected, key=lambda row: abs(row[2][tissue] - row[1][tissue]))
            assert effect.locations[tissue] == name
            assert effect.ref[tissue] == pytest.approx(ref[tissue], abs=1e-4)
            assert effect.alt[tissue] == pytest.approx(alt[tissue], abs=1e-4)

    def test_a_site_that_is_deleted_joins_nothing(self, bundle):
        reader = track_reader(bundle)
        donors, acceptors, *_ = reader.likely_sites(
            reader.splicing(TEXT[1000 : 1000 + WINDOW], [], [6]).sites
        )
        site = 1000 + int(next(d for d in donors if d > 0 and d + 1 < acceptors.max()))
        effect = SpliceEffects(reader, [6], both_strands=False, reach=0).of(
            pair_of(site, TEXT[site : site + 1], "")
        )
        assert effect.alt[0] == pytest.approx(np.log(PSEUDOCOUNT))
        assert effect.locations[0].split("-")[0] == str(site + 2)

    def test_where_no_site_is_likely_there_is_no_junction(self):
        reader = track_reader(bundle_of(splice_threshold=1.0))
        effect = SpliceEffects(reader, [6], both_strands=False).of(pair_of(2000, TEXT[2000], ""))
        assert np.isnan([*effect.ref, *effect.alt]).all()
        assert effect.locations == (".",)

    def test_tissues_that_the_network_lacks_are_none_of_its_tracks(self, bundle):
        extended = Bundle(
            bundle.config,
            bundle.classifier,
            TrackInput([*TRACKS, Track("lung", assay="splice_junctions")]),
        )
        with pytest.raises(Exception, match="track lung of its table is none of the network's"):
            track_reader(extended)


class TestScore:
    def test_shifting_the_genome_shifts_junctions_alone(self, folder):
        alt = other_than(TEXT[2499])
        one = row_of(score(folder, 2500, TEXT[2499], alt))
        other = row_of(score(folder, 3000, TEXT[2499], alt, reference="later.fa"))
        for name, value in one.items():
            if name.endswith(":junction"):
                intron, strand = value.split(":")
                shifted = "-".join(str(int(end) + 500) for end in intron.split("-"))
                assert other[name] == f"{shifted}:{strand}"
            elif name not in ("pos", "window", "normalized"):
                assert other[name] == value

    def test_both_strands_of_the_other_strand_are_the_same(self, bundle):
        """An even window has a letter more on one side of a change, so that turned ones are made here."""
        splice = SpliceEffects(track_reader(bundle), range(8), both_strands=True, reach=60)
        exchanged = {"donor+": "donor-", "acceptor+": "acceptor-", "used+": "used-"}
        exchanged |= {b: a for a, b in exchanged.items()}
        pair = pair_of(2500, TEXT[2500], other_than(TEXT[2500]), begin=1500)
        forward, reverse = (splice.of(one) for one in (pair, self.mirrored(pair)))
        for n, name in enumerate(splice.labels):
            head, _, track = name.partition("/")
            m = splice.labels.index(f"{head}/{exchanged.get(track, track)}")
            assert forward.ref[n] == pytest.approx(reverse.ref[m], abs=1e-5)
            assert forward.alt[n] == pytest.approx(reverse.alt[m], abs=1e-5)
            if head != "splice_junctions":
                assert int(forward.locations[n]) == -int(reverse.locations[m])
            else:
                first, last = map(int, forward.locations[n].split(":")[0].split("-"))
                assert reverse.locations[m].startswith(f"{5001 - last}-{5001 - first}:")

    def mirrored(self, pair):
        size = len(pair.ref.text)
        change = Change("a", 0, complement(pair.change.ref), complement(pair.change.alt))
        position = size - 1 - pair.ref_at
        begin = len(TEXT) - pair.begin - size
        return AllelePair(
            change, begin, pair.ref.other_strand, pair.alt.other_strand, position, position
        )

    def test_a_vcf_has_a_field_for_each(self, folder):
        result = score(folder, 2500, TEXT[2499], f"{TEXT[2499]}GGTAAGT", "--to", "vcf")
        row = row_of(score(folder, 2500, TEXT[2499], f"{TEXT[2499]}GGTAAGT"))
        info = dict(x.split("=") for x in result.stdout.splitlines()[-1].split("\t")[7].split(";"))
        assert info["GENOMAI_DELTA_splice_sites_donor_plus"] == row["splice_sites/donor+"]
        assert info["GENOMAI_DELTA_splice_sites_donor_minus"] == row["splice_sites/donor-"]
        assert (
            info["GENOMAI_splice_sites_donor_plus_distance"] == row["splice_sites/donor+:distance"]
        )
        assert (
            info["GENOMAI_splice_junctions_liver_junction"]
            == row["splice_junctions/liver:junction"]
        )
        assert (
            "##INFO=<ID=GENOMAI_splice_sites_donor_plus_distance,Number=A,Type=Integer"
            in result.stdout
        )
        assert 'Type=String,Description="Junction of the ln of the reads' in result.stdout
        assert "splice sites where they change most in the window" in result.stderr

    def test_a_page_says_where(self, folder):
        arguments = ("--only", "splice_sites", "--only", "splice_junctions")
        row = row_of(score(folder, 2500, TEXT[2499], other_than(TEXT[2499]), *arguments))
        score(
            folder,
            2500,
            TEXT[2499],
            other_than(TEXT[2499]),
            *arguments,
            "--report",
            folder / "x.html",
        )
        page = (folder / "x.html").read_text()
        for name in ("splice_sites/donor+:distance", "splice_junctions/liver:junction"):
            assert name in page
            assert f">{row[name]}<" in page

    def test_the_library_returns_the_same(self, folder):
        import genomai_cli as genomai

        row = row_of(score(folder, 2500, TEXT[2499], other_than(TEXT[2499])))
        effects = genomai.score_variants(folder / "v.vcf", folder / "ref.fa", folder / "model")
        assert {name: texts[0] for name, texts in effects.places.items()} == {
            name: row[name] for name in row if name.endswith((":distance", ":junction"))
        }
        changes = dict(zip(effects.labels, effects.label_changes[0], strict=True))
        assert {name: f"{change:.6f}" for name, change in changes.items()} == {
            name: row[name] for name in changes
        }

    def test_substitutions_have_their_locations_in_hdf5(self, folder):
        (folder / "r.bed").write_text("a\t2499\t2500\n")
        arguments = [
            "score",
            "--model",
            folder / "model",
            "--reference",
            folder / "ref.fa",
            "--mutate-all",
        ]
        arguments += ["--regions", folder / "r.bed", "--only", "splice_sites", "--only", "liver"]
        result = run([*arguments, "--to", "hdf5", "-o", folder / "m.h5"])
        assert result.status == 0, result.stderr
        letter = other_than(TEXT[2499])
        row = row_of(
            score(folder, 2500, TEXT[2499], letter, "--only", "splice_sites", "--only", "liver")
        )
        with h5py.File(folder / "m.h5") as file:
            labels = [label.decode() for label in file["labels"][:]]
            location_names = [name.decode() for name in file["place_names"][:]]
            base = "ACGT".index(letter)
            for n, (label, name) in enumerate(zip(labels, location_names, strict=True)):
                assert file["places"][0, base, n].decode() == row[name]
                expected = float(row[f"{label}:ref"])
                assert file["ref_at_places"][0, base, n] == pytest.approx(expected, abs=1e-5)
                assert file["log_odds"][0, base, n] == pytest.approx(float(row[label]), abs=1e-5)
            assert np.isnan(file["ref_log_odds"][:]).all()

    def test_a_record_is_read_once_for_all_its_alleles(self, folder, bundle):
        scorer = scorer_for(bundle, ScoringOptions(only=["splice_sites"]))
        texts = []
        splicing = scorer.contrasts.reader.splicing
        scorer.contrasts.reader.splicing = lambda *x: texts.append(x[0]) or splicing(*x)
        others = tuple(base for base in "ACGT" if base != TEXT[2499])
        record = AlleleRecord("a", 2500, TEXT[2499], others, "v.vcf", 1)
        with open_reference(folder / "ref.fa") as reference:
            assert len(list(effects([record], ReferenceLookup(reference), scorer))) == 3
        assert len(texts) == 4


def test_tracks_of_junctions_are_not_predicted_along_the_genome(folder):
    (folder / "r.bed").write_text("a\t2000\t2100\n")
    arguments = ["predict", "--model", folder / "model", "--reference", folder / "ref.fa"]
    arguments += ["--regions", folder / "r.bed"]
    header = run(arguments).stdout.splitlines()[0]
    assert "donor+" in header
    assert "liver" not in header
    result = run([*arguments, "--only", "brain"])
    assert result.status == 2
    assert "--only chooses junctions alone" in result.stderr
