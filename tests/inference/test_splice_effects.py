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
def place(tmp_path_factory, bundle):
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


def scored(place, position, ref, alt, *more, reference="ref.fa"):
    vcf = "##fileformat=VCFv4.2\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"
    (place / "v.vcf").write_text(f"{vcf}a\t{position}\t.\t{ref}\t{alt}\t.\t.\t.\n")
    words = ["--model", place / "model", "--reference", place / reference, place / "v.vcf"]
    ended = run(["score", *words, *more])
    assert ended.status == 0, ended.stderr
    return ended


def row_of(ended):
    header, row = (line.split("\t") for line in ended.stdout.splitlines())
    return dict(zip(header, row, strict=True))


def heads(bundle, text):
    network = bundle.classifier.networks[0]
    ids = torch.from_numpy(bundle.tokenizer.encode(text)).long()[None]
    found = network.predict(ids)
    return {
        "sites": found["splice_sites_classification"]["predictions"][0, :, :4].numpy(),
        "usage": found["splice_sites_usage"]["predictions"][0].numpy(),
        "places": found["splice_sites_junction"]["splice_site_positions"][0].numpy(),
        "counts": found["splice_sites_junction"]["predictions"][0].numpy(),
    }


class TestAlignment:
    VALUES = np.arange(12, dtype=np.float32)[:, None] + 1

    def laid(self, ref, alt, start=4, alt_at=4):
        change = Change("a", start, ref, alt)
        pair = AllelePair(change, 0, Stretch("A" * 12), Stretch("A" * 12), start, alt_at)
        return [
            None if np.isnan(v) else int(v) for v in aligned_to_reference(self.VALUES, pair)[:, 0]
        ]

    def test_letters_stand_for_themselves(self):
        assert self.laid("A", "C") == list(range(1, 13))
        assert self.laid("AC", "GT") == list(range(1, 13))

    def test_a_deleted_letter_is_no_site_and_what_follows_moves_up(self):
        assert self.laid("AC", "") == [1, 2, 3, 4, 0, 0, 5, 6, 7, 8, 9, 10]
        assert self.laid("ACG", "T") == [1, 2, 3, 4, 5, 0, 0, 6, 7, 8, 9, 10]

    def test_inserted_letters_count_at_the_one_before_and_what_is_pushed_out_is_unknown(self):
        assert self.laid("", "AC") == [1, 2, 3, 6, 7, 8, 9, 10, 11, 12, None, None]
        assert self.laid("A", "TTT") == [1, 2, 3, 4, 7, 8, 9, 10, 11, 12, None, None]
        assert self.laid("", "AC", start=0, alt_at=0)[:2] == [3, 4]

    def test_a_window_that_begins_earlier(self):
        assert self.laid("AC", "", alt_at=6) == [3, 4, 5, 6, 0, 0, 7, 8, 9, 10, 11, 12]


class Heard:
    """Contrasts that keep the alleles that they are asked about."""

    labels, location_names, description = ["x"], ["x:distance"], ""

    def __init__(self):
        self.pairs = []

    def of(self, pair):
        self.pairs.append(pair)
        return LocatedValues(np.zeros(1), np.zeros(1), ["0"])


def test_letters_of_either_window_stand_for_the_same_base_of_the_genome(place):
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
    heard = Heard()
    scorer = Scorer(None, None, window=WINDOW, flank=8, step=2048, contrasts=heard)
    with open_reference(place / "ref.fa") as reference:
        list(effects(records, ReferenceLookup(reference), scorer))
    assert len(heard.pairs) == 200
    for pair in heard.pairs:
        assert len(pair.ref.text) == len(pair.alt.text) == WINDOW
        assert pair.ref.text == TEXT[pair.begin : pair.begin + WINDOW]
        codes = np.frombuffer(pair.alt.text.encode(), np.uint8).astype(np.float32)[:, None]
        laid = aligned_to_reference(codes, pair)[:, 0]
        given = np.frombuffer(pair.ref.text.encode(), np.uint8)
        end = pair.ref_at + len(pair.change.ref)
        outside = np.ones(WINDOW, bool)
        outside[max(0, pair.ref_at - 1) : end + 1] = False
        known = outside & ~np.isnan(laid)
        assert np.array_equal(laid[known], given[known])
        assert np.isnan(laid).sum() <= 20
        kept = min(len(pair.change.ref), len(pair.change.alt))
        assert (laid[pair.ref_at + kept : end] == 0).all() or len(pair.change.alt) > kept


@pytest.mark.parametrize("start", [0, 4700, 4990, 4999])
def test_a_long_insertion_at_the_end_of_a_contig_has_a_window_as_long(place, start):
    added = "".join(np.random.default_rng(1).choice(list("ACGT"), 900))
    record = AlleleRecord("a", start + 1, TEXT[start], (TEXT[start] + added,), "v.vcf", 1)
    heard = Heard()
    scorer = Scorer(None, None, window=WINDOW, flank=8, step=2048, contrasts=heard)
    with open_reference(place / "ref.fa") as reference:
        list(effects([record], ReferenceLookup(reference), scorer))
    (pair,) = heard.pairs
    changed = TEXT[: start + 1] + added + TEXT[start + 1 :]
    assert len(pair.ref.text) == len(pair.alt.text) == WINDOW
    assert changed[pair.change.start - pair.alt_at :].startswith(pair.alt.text)
    codes = np.frombuffer(pair.alt.text.encode(), np.uint8).astype(np.float32)[:, None]
    laid = aligned_to_reference(codes, pair)[: pair.ref_at - 1, 0]
    given = np.frombuffer(pair.ref.text.encode(), np.uint8)[: pair.ref_at - 1]
    assert (np.isnan(laid) | (laid == given)).all()


class TestSites:
    def test_the_base_that_changes_most_anywhere_in_the_window(self, place, bundle):
        alt = other_than(TEXT[2499])
        row = row_of(scored(place, 2500, TEXT[2499], alt))
        begin = 2499 - WINDOW // 2
        text = TEXT[begin : begin + WINDOW]
        mutant = text[: WINDOW // 2] + alt + text[WINDOW // 2 + 1 :]
        before, after = heads(bundle, text), heads(bundle, mutant)
        named = [(f"splice_sites/{kind}", "sites", n) for n, kind in enumerate(KINDS)]
        named += [(f"splice_site_usage/used{s}", "usage", n) for n, s in enumerate("+-")]
        for name, what, column in named:
            ref, changed = before[what][:, column], after[what][:, column]
            letter = int(np.abs(changed - ref).argmax())
            assert float(row[name]) == pytest.approx(changed[letter] - ref[letter], abs=2e-6)
            assert float(row[f"{name}:ref"]) == pytest.approx(ref[letter], abs=2e-6)
            assert int(row[f"{name}:distance"]) == letter - WINDOW // 2
        assert not {"tracks/donor+", "largest/donor+"} & row.keys()
        assert "tracks/open" in row

    def test_only_so_far_from_the_variant(self, place):
        alt = other_than(TEXT[2499])
        row = row_of(scored(place, 2500, TEXT[2499], alt, "--flank", "3", "--only", "splice_sites"))
        assert all(abs(int(row[f"splice_sites/{kind}:distance"])) <= 3 for kind in KINDS)

    @pytest.mark.parametrize(("length", "alt"), [(1, "CCATTACACC"), (1, "CGATTACAGG"), (6, "")])
    def test_what_an_indel_shifts_is_no_change(self, bundle, monkeypatch, length, alt):
        """Where each letter's value is its own, only what the change itself brings differs."""
        reader = track_reader(bundle)
        real = reader.splicing

        def splicing(text, columns, tissues):
            told_L1 = np.array([[letter == "G"] for letter in text], np.float32)
            return real(text, columns, tissues)._replace(values=told_L1)

        monkeypatch.setattr(reader, "splicing", splicing)
        start = re.search("[ACT]{6}", TEXT[1500:]).start() + 1500
        pair = pair_of(start, TEXT[start : start + length], alt)
        found = SpliceEffects(reader, [0], both_strands=False).of(pair)
        assert (found.ref[0], found.alt[0]) == ((0, 1) if "G" in alt else (found.ref[0],) * 2)
        if "G" in alt:
            assert found.locations == ("0",)

    def test_an_allele_that_changes_nothing_does_so_nowhere(self, bundle):
        reader = track_reader(bundle)
        pair = pair_of(2020, TEXT[2020], TEXT[2020])
        columns = list(reader.splicing_heads)
        found = SpliceEffects(reader, columns, both_strands=False).of(pair)
        assert set(found.locations) == {"."}
        assert np.array_equal(found.ref, found.alt)


class TestJunctions:
    def expected(self, bundle, pair, near=128):
        """The same from the heads' outputs, junction by junction."""
        network = bundle.classifier.networks[0]
        head = network.tracks.splice_junctions
        found = [heads(bundle, one.text)["sites"] for one in (pair.ref, pair.alt)]
        both = np.maximum(*found)
        places = []
        for kind in range(4):
            order = np.argsort(-both[:, kind], kind="stable")[: head.max_sites]
            places.append(sorted(p for p in order.tolist() if both[p, kind] >= head.threshold))
        most = max(map(len, places))
        padded = torch.tensor([[*p, *[-1] * (most - len(p))] for p in places])[None]
        counts = []
        for text in (pair.ref.text, pair.alt.text):
            ids = torch.from_numpy(bundle.tokenizer.encode(text)).long()[None]
            made = network.embeddings(ids, torch.tensor([0]))
            counts.append(head.counts(made.bases, padded, torch.tensor([0]))[0].numpy())
        rows = []
        for strand in (0, 1):
            for d, donor in enumerate(places[2 * strand]):
                for a, acceptor in enumerate(places[2 * strand + 1]):
                    left, right = (donor, acceptor) if strand == 0 else (acceptor, donor)
                    if right - left < 2 or left > pair.ref_at + near or right < pair.ref_at - near:
                        continue
                    ref, alt = (np.log(c[d, a, 2 * strand :][:2] + PSEUDOCOUNT) for c in counts)
                    name = f"{pair.begin + left + 2}-{pair.begin + right}:{'+-'[strand]}"
                    rows.append((name, ref, alt))
        return rows

    def test_the_largest_log_fold_change_by_tissue_of_common_junctions(self, bundle):
        start = 2020
        pair = pair_of(start, TEXT[start], other_than(TEXT[start]))
        reader = track_reader(bundle)
        found = SpliceEffects(reader, [6, 7], both_strands=False).of(pair)
        expected = self.expected(bundle, pair)
        assert len(expected) > 10
        assert {name[-1] for name, *_ in expected} == {"+", "-"}
        for tissue in (0, 1):
            name, ref, alt = max(expected, key=lambda row: abs(row[2][tissue] - row[1][tissue]))
            assert found.locations[tissue] == name
            assert found.ref[tissue] == pytest.approx(ref[tissue], abs=1e-4)
            assert found.alt[tissue] == pytest.approx(alt[tissue], abs=1e-4)

    def test_a_site_that_is_deleted_joins_nothing(self, bundle):
        reader = track_reader(bundle)
        donors, acceptors, *_ = reader.likely_sites(
            reader.splicing(TEXT[1000 : 1000 + WINDOW], [], [6]).sites
        )
        site = 1000 + int(next(d for d in donors if d > 0 and d + 1 < acceptors.max()))
        found = SpliceEffects(reader, [6], both_strands=False, reach=0).of(
            pair_of(site, TEXT[site : site + 1], "")
        )
        assert found.alt[0] == pytest.approx(np.log(PSEUDOCOUNT))
        assert found.locations[0].split("-")[0] == str(site + 2)

    def test_where_no_site_is_likely_there_is_no_junction(self):
        reader = track_reader(bundle_of(splice_threshold=1.0))
        found = SpliceEffects(reader, [6], both_strands=False).of(pair_of(2000, TEXT[2000], ""))
        assert np.isnan([*found.ref, *found.alt]).all()
        assert found.locations == (".",)

    def test_tissues_that_the_network_lacks_are_none_of_its_tracks(self, bundle):
        more = Bundle(
            bundle.config,
            bundle.classifier,
            TrackInput([*TRACKS, Track("lung", assay="splice_junctions")]),
        )
        with pytest.raises(Exception, match="track lung of its table is none of the network's"):
            track_reader(more)


class TestScore:
    def test_shifting_the_genome_shifts_junctions_alone(self, place):
        alt = other_than(TEXT[2499])
        one = row_of(scored(place, 2500, TEXT[2499], alt))
        other = row_of(scored(place, 3000, TEXT[2499], alt, reference="later.fa"))
        for name, value in one.items():
            if name.endswith(":junction"):
                intron, strand = value.split(":")
                moved = "-".join(str(int(end) + 500) for end in intron.split("-"))
                assert other[name] == f"{moved}:{strand}"
            elif name not in ("pos", "window", "normalized"):
                assert other[name] == value

    def test_both_strands_of_the_other_strand_are_the_same(self, bundle):
        """An even window has a letter more on one side of a change, so that turned ones are made here."""
        splice = SpliceEffects(track_reader(bundle), range(8), both_strands=True, reach=60)
        exchanged = {"donor+": "donor-", "acceptor+": "acceptor-", "used+": "used-"}
        exchanged |= {b: a for a, b in exchanged.items()}
        pair = pair_of(2500, TEXT[2500], other_than(TEXT[2500]), begin=1500)
        found, mirrored = (splice.of(one) for one in (pair, self.turned(pair)))
        for n, name in enumerate(splice.labels):
            head, _, track = name.partition("/")
            m = splice.labels.index(f"{head}/{exchanged.get(track, track)}")
            assert found.ref[n] == pytest.approx(mirrored.ref[m], abs=1e-5)
            assert found.alt[n] == pytest.approx(mirrored.alt[m], abs=1e-5)
            if head != "splice_junctions":
                assert int(found.locations[n]) == -int(mirrored.locations[m])
            else:
                first, last = map(int, found.locations[n].split(":")[0].split("-"))
                assert mirrored.locations[m].startswith(f"{5001 - last}-{5001 - first}:")

    def turned(self, pair):
        size = len(pair.ref.text)
        change = Change("a", 0, complement(pair.change.ref), complement(pair.change.alt))
        at = size - 1 - pair.ref_at
        begin = len(TEXT) - pair.begin - size
        return AllelePair(change, begin, pair.ref.other_strand, pair.alt.other_strand, at, at)

    def test_a_vcf_has_a_field_for_each(self, place):
        ended = scored(place, 2500, TEXT[2499], f"{TEXT[2499]}GGTAAGT", "--to", "vcf")
        row = row_of(scored(place, 2500, TEXT[2499], f"{TEXT[2499]}GGTAAGT"))
        info = dict(x.split("=") for x in ended.stdout.splitlines()[-1].split("\t")[7].split(";"))
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
            in ended.stdout
        )
        assert 'Type=String,Description="Junction of the ln of the reads' in ended.stdout
        assert "splice sites where they change most in the window" in ended.stderr

    def test_a_page_says_where(self, place):
        words = ("--only", "splice_sites", "--only", "splice_junctions")
        row = row_of(scored(place, 2500, TEXT[2499], other_than(TEXT[2499]), *words))
        scored(
            place, 2500, TEXT[2499], other_than(TEXT[2499]), *words, "--report", place / "x.html"
        )
        page = (place / "x.html").read_text()
        for name in ("splice_sites/donor+:distance", "splice_junctions/liver:junction"):
            assert name in page
            assert f">{row[name]}<" in page

    def test_the_library_tells_the_same(self, place):
        import genomai_cli as genomai

        row = row_of(scored(place, 2500, TEXT[2499], other_than(TEXT[2499])))
        found = genomai.score_variants(place / "v.vcf", place / "ref.fa", place / "model")
        assert {name: texts[0] for name, texts in found.places.items()} == {
            name: row[name] for name in row if name.endswith((":distance", ":junction"))
        }
        changes = dict(zip(found.labels, found.label_changes[0], strict=True))
        assert {name: f"{change:.6f}" for name, change in changes.items()} == {
            name: row[name] for name in changes
        }

    def test_substitutions_have_their_places_in_hdf5(self, place):
        (place / "r.bed").write_text("a\t2499\t2500\n")
        words = [
            "score",
            "--model",
            place / "model",
            "--reference",
            place / "ref.fa",
            "--mutate-all",
        ]
        words += ["--regions", place / "r.bed", "--only", "splice_sites", "--only", "liver"]
        ended = run([*words, "--to", "hdf5", "-o", place / "m.h5"])
        assert ended.status == 0, ended.stderr
        letter = other_than(TEXT[2499])
        row = row_of(
            scored(place, 2500, TEXT[2499], letter, "--only", "splice_sites", "--only", "liver")
        )
        with h5py.File(place / "m.h5") as file:
            labels = [label.decode() for label in file["labels"][:]]
            places = [name.decode() for name in file["place_names"][:]]
            base = "ACGT".index(letter)
            for n, (label, name) in enumerate(zip(labels, places, strict=True)):
                assert file["places"][0, base, n].decode() == row[name]
                expected = float(row[f"{label}:ref"])
                assert file["ref_at_places"][0, base, n] == pytest.approx(expected, abs=1e-5)
                assert file["log_odds"][0, base, n] == pytest.approx(float(row[label]), abs=1e-5)
            assert np.isnan(file["ref_log_odds"][:]).all()

    def test_a_record_is_read_once_for_all_its_alleles(self, place, bundle):
        scorer = scorer_for(bundle, ScoringOptions(only=["splice_sites"]))
        read = []
        splicing = scorer.contrasts.reader.splicing
        scorer.contrasts.reader.splicing = lambda *x: read.append(x[0]) or splicing(*x)
        others = tuple(base for base in "ACGT" if base != TEXT[2499])
        record = AlleleRecord("a", 2500, TEXT[2499], others, "v.vcf", 1)
        with open_reference(place / "ref.fa") as reference:
            assert len(list(effects([record], ReferenceLookup(reference), scorer))) == 3
        assert len(read) == 4


def test_tracks_of_junctions_are_not_predicted_along_the_genome(place):
    (place / "r.bed").write_text("a\t2000\t2100\n")
    words = ["predict", "--model", place / "model", "--reference", place / "ref.fa"]
    words += ["--regions", place / "r.bed"]
    header = run(words).stdout.splitlines()[0]
    assert "donor+" in header
    assert "liver" not in header
    ended = run([*words, "--only", "brain"])
    assert ended.status == 2
    assert "--only chooses junctions alone" in ended.stderr
