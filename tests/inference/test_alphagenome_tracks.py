"""Tracks of a network of AlphaGenome's design: along regions, around variants, by organism, and what is refused."""

import h5py
import numpy as np
import pytest
import torch
from conftest import run

from genomai_cli.alphabet import complement
from genomai_cli.backbones.alphagenome import AlphaGenomeNetwork
from genomai_cli.backbones.alphagenome_layers import RELEASED_TRACKS, AlphaGenomeConfig
from genomai_cli.backbones.alphagenome_tracks import output_slots, sizes_of, unnamed_tracks
from genomai_cli.backbones.base import complete_config
from genomai_cli.backbones.classifier import Classifier, Fusion
from genomai_cli.bundles.bundle import Bundle, save
from genomai_cli.bundles.writing import Extras
from genomai_cli.errors import BundleError, UsageError
from genomai_cli.formats.consensus import Region
from genomai_cli.formats.indexed_fasta import open_reference
from genomai_cli.formats.track_table import Track
from genomai_cli.formats.variant_alleles import Change
from genomai_cli.inference.explain import Explainer, explained_values
from genomai_cli.inference.likelihood import Stretch
from genomai_cli.inference.track_effects import TrackMeans, changes_by_gradient
from genomai_cli.inference.track_logo import TrackLogo
from genomai_cli.inference.track_predictions import PredictionOptions, TrackPredictor
from genomai_cli.inference.track_readers import track_reader
from genomai_cli.inference.variant_effects import fixed_window_of
from genomai_cli.inputs.tracks import TrackInput
from genomai_cli.records import SequenceRecord

WINDOW = 4096
HUMAN = (
    Track("h+", assay="CAGE", strand="+", organism="human", tissue="liver"),
    Track("h-", assay="cage", strand="-", organism="human", tissue="liver"),
    Track("open", assay="dnase", organism="human"),
    Track("mark", assay="chip_histone", organism="human"),
    Track("hic", assay="contact_maps", organism="human"),
)
MOUSE = (
    Track("m+", assay="cage", strand="+", organism="mouse"),
    Track("m2", assay="dnase", organism="mouse"),
)
SIZES = {
    "width": 4, "growth": 2, "blocks": 1, "heads": 2, "key_size": 4, "value_size": 4, "pair_width": 3,
    "pair_heads": 2, "pair_key_size": 4, "distances": 2, "max_tokens": WINDOW // 128,
}  # fmt: skip


def bundle_of(tracks):
    torch.manual_seed(0)
    sizes = SIZES | sizes_of(tracks)
    network = AlphaGenomeNetwork(AlphaGenomeConfig(**sizes)).eval().requires_grad_(False)
    for head in network.tracks.assays.values():
        head.track_means[:] = torch.rand(head.track_means.shape) + 0.5
    config = {
        "name": "tiny", "version": "1", "input": {"kind": "tracks"}, "members": 1, "heads": {},
        "tokenizer": {"kind": "characters"}, "network": complete_config({"kind": "alphagenome"} | sizes),
    }  # fmt: skip
    return Bundle(config, Classifier([network], Fusion({}, {}), None, None), TrackInput(tracks))


def letters(count, seed=0):
    return "".join(np.random.default_rng(seed).choice(list("ACGT"), count))


LONG, SHORT = letters(9000), letters(1500, 1)
TEXT = LONG[:WINDOW]


@pytest.fixture(scope="module")
def bundle():
    return bundle_of(HUMAN + MOUSE)


@pytest.fixture(scope="module")
def place(tmp_path_factory, bundle):
    folder = tmp_path_factory.mktemp("alphagenome")
    save(bundle, folder / "model", Extras("", ""))
    (folder / "ref.fa").write_text(f">a\n{LONG}\n>b\n{SHORT}\n")
    (folder / "turned.fa").write_text(f">a\n{complement(LONG)[::-1]}\n")
    (folder / "later.fa").write_text(f">a\n{letters(2999, 2)}{LONG}\n")
    return folder


def predicted(place, *more, bed="a\t3000\t6500\n", reference="ref.fa", target="x.h5"):
    (place / "r.bed").write_text(bed)
    words = [
        "--model",
        place / "model",
        "--reference",
        place / reference,
        "--regions",
        place / "r.bed",
    ]
    return run(["predict", *words, *more, "--to", "hdf5", "-o", place / target])


def values(place, *more, **given):
    ended = predicted(place, *more, **given)
    assert ended.status == 0, ended.stderr
    with h5py.File(place / "x.h5") as file:
        names = [name.decode() for name in file["tracks/name"][:]]
        return dict(zip(names, file["values"][:].T, strict=True))


def outputs(bundle, text, organism=0):
    network = bundle.classifier.networks[0]
    ids = torch.from_numpy(bundle.tokenizer.encode(text)).long()[None]
    found = network.predict(ids, {"organism_index": torch.tensor([organism])})
    return {name: {k: v[0].numpy() for k, v in made.items()} for name, made in found.items()}


class TestNames:
    def test_a_track_is_the_column_of_its_place_among_those_of_its_organism_and_assay(self):
        assert [tuple(place) for place in output_slots(HUMAN + MOUSE)] == [
            ("cage", 0, 0), ("cage", 0, 1), ("dnase", 0, 0), ("chip_histone", 0, 0), ("contact_maps", 0, 0),
            ("cage", 1, 0), ("dnase", 1, 0),
        ]  # fmt: skip
        tracks = {"dnase": 1, "cage": 2, "chip_histone": 1, "contact_maps": 1}
        assert sizes_of(HUMAN + MOUSE) == {"tracks": tracks, "organisms": 2}
        with pytest.raises(ValueError, match=r"assay is one of atac, .* not 'WGBS'"):
            output_slots([Track("x", assay="WGBS")])

    def test_tracks_of_a_released_file_are_numbered_and_of_strands_that_it_does_not_tell(self):
        config = AlphaGenomeConfig(tissues=[367, 90])
        assert dict(config.tracks) == RELEASED_TRACKS
        found = unnamed_tracks(config)
        mouse = [track for track in found if track.organism == "mouse"]
        counts = {assay: sum(t.assay == assay for t in mouse) for assay in RELEASED_TRACKS}
        assert counts["splice_site_usage"] == 180
        assert counts["contact_maps"] == 8
        assert counts["splice_sites"] == 4
        assert [t.strand for t in mouse if t.name in ("cage_1", "dnase_1", "donor-")] == [
            ".",
            "?",
            "-",
        ]

    def test_columns_that_only_fill_a_head_up_are_no_tracks(self, bundle):
        network = bundle.classifier.networks[0]
        released = Bundle(bundle.config, bundle.classifier, TrackInput([]))
        kept = network.tracks.assays["cage"].track_means.clone()
        network.tracks.assays["cage"].track_means[1, 1] = 0
        try:
            names = [track.name for track in track_reader(released, organism="mouse").tracks]
        finally:
            network.tracks.assays["cage"].track_means[:] = kept
        assert names == ["dnase_1", "cage_1", "chip_histone_1", "contact_maps_1"]

    def test_a_table_of_more_tracks_than_the_network_has_is_refused(self, bundle):
        more = Bundle(
            bundle.config, bundle.classifier, TrackInput([*HUMAN, *MOUSE, MOUSE[1], MOUSE[1]])
        )
        with pytest.raises(BundleError, match="track m2 of its table is none of the network's"):
            track_reader(more, organism="human")


class TestPredict:
    def test_the_middle_of_a_window_is_what_the_heads_say(self, place, bundle):
        found = values(place, "--organism", "human", bed="a\t3500\t4500\n")
        begin = 4000 - WINDOW // 2
        expected = outputs(bundle, LONG[begin : begin + WINDOW])
        own = slice(3500 - begin, 4500 - begin)
        assert np.allclose(found["h-"], expected["cage"]["predictions_1bp"][own, 1], rtol=1e-4)
        coarse = np.repeat(expected["chip_histone"]["predictions_128bp"][:, 0] / 128, 128)
        assert np.allclose(found["mark"], coarse[own], rtol=1e-4)
        assert set(found) == {"h+", "h-", "open", "mark"}

    def test_bins_of_128_are_those_of_the_heads_of_that_resolution(self, place, bundle):
        begin = 3072
        words = ["--organism", "mouse", "--resolution", "128"]
        found = values(place, *words, bed=f"a\t{begin + 1024}\t{begin + 3072}\n")
        expected = outputs(bundle, LONG[begin : begin + WINDOW], 1)["dnase"]["predictions_128bp"]
        assert np.allclose(found["m2"], expected[8:24, 0] / 128, rtol=1e-4)

    def test_whole_contigs_to_their_ends_and_none_of_what_is_too_short(self, place):
        found = values(place, "--only", "open", bed="a\t0\t9000\nb\t0\t1500\n")["open"]
        assert not np.isnan(found[:9000]).any()
        assert np.isnan(found[9000:]).all()

    def test_shifting_the_genome_changes_nothing(self, place):
        before = values(place, "--only", "liver")
        after = values(place, "--only", "liver", bed="a\t5999\t9499\n", reference="later.fa")
        assert all(np.array_equal(before[name], after[name]) for name in ("h+", "h-"))

    def test_both_strands_of_the_other_strand_are_the_same_reversed(self, place):
        words = ["--organism", "human", "--strand", "both"]
        one = values(place, *words)
        other = values(place, *words, bed="a\t2500\t6000\n", reference="turned.fa")
        assert np.allclose(one["h+"], other["h-"][::-1], rtol=1e-4)
        assert np.allclose(one["open"], other["open"][::-1], rtol=1e-4)

    @pytest.mark.parametrize(
        ("words", "said"),
        [
            ([], "--organism: which of human, mouse?"),
            (["--organism", "rat"], "--organism rat: the model knows human, mouse"),
            (["--organism", "mouse", "--strand", "both"], "track m+ has no partner"),
            (["--organism", "mouse", "--window", "3000"], "reads multiples of 2,048 up to 4096"),
            (["--organism", "mouse", "--overlap", "2048"], "--overlap 2048"),
            (["--organism", "mouse", "--only", "liver"], "no track has this name"),
        ],
    )
    def test_what_does_not_fit_is_one_line(self, place, words, said):
        ended = predicted(place, *words, target="none.h5")
        assert ended.status == 2
        assert said in ended.stderr
        assert not (place / "none.h5").exists()

    def test_tracks_are_not_filled_from_others(self, place):
        (place / "open.bedgraph").write_text("a\t0\t10\t1\n")
        (place / "t.tsv").write_text("name\tfile\nopen\topen.bedgraph\n")
        words = [
            "--tracks",
            place / "t.tsv",
            "--reference",
            place / "ref.fa",
            "-o",
            place / "filled",
        ]
        ended = run(["denoise", "--model", place / "model", *words])
        assert ended.status != 0
        assert "--organism" in ended.stderr or "reads DNA alone" in ended.stderr


class TestContacts:
    BED = "a\t4096\t8192\n"

    def expected(self, bundle):
        maps = outputs(bundle, LONG[4096:8192])["contact_maps"]["predictions"][..., 0]
        return [maps[0, 0], maps[0, 1], maps[1, 1]]

    def test_pairs_are_those_of_the_window_and_bins_those_of_the_reference(self, place, bundle):
        ended = predicted(place, "--organism", "human", "--contacts", place / "c.h5", bed=self.BED)
        assert ended.status == 0, ended.stderr
        with h5py.File(place / "c.h5") as file:
            pairs = list(zip(file["pairs/first"][:], file["pairs/second"][:], strict=True))
            assert pairs == [(2, 2), (2, 3), (3, 3)]
            assert np.allclose(file["values"][:, 0], self.expected(bundle), atol=1e-5)
            assert file["bins/end"][:].tolist() == [2048, 4096, 6144, 8192, 9000, 1500]
            assert file["maps/name"][:].tolist() == [b"hic"]

    def test_cooler_reads_the_same(self, place, bundle):
        cooler = pytest.importorskip("cooler")
        ended = predicted(
            place, "--organism", "human", "--contacts", place / "c.cool", bed=self.BED
        )
        assert ended.status == 0, ended.stderr
        clr = cooler.Cooler(str(place / "c.cool"))
        assert clr.chromnames == ["a", "b"]
        matrix = clr.matrix(balance=False).fetch("a:4097-8192")
        one, between, other = self.expected(bundle)
        assert np.allclose(matrix, [[one, between], [between, other]], atol=1e-5)

    def test_every_pair_of_a_contig_once(self, place):
        bed = "a\t0\t5000\na\t5000\t9000\n"
        assert (
            predicted(place, "--organism", "human", "--contacts", place / "c.h5", bed=bed).status
            == 0
        )
        with h5py.File(place / "c.h5") as file:
            pairs = list(zip(file["pairs/first"][:], file["pairs/second"][:], strict=True))
        assert pairs == [(0, 0), (0, 1), (1, 1), (1, 2), (2, 2), (2, 3), (3, 3)]

    def test_maps_alone(self, place, bundle):
        (place / "r.bed").write_text(self.BED)
        words = [
            "--model",
            place / "model",
            "--reference",
            place / "ref.fa",
            "--regions",
            place / "r.bed",
        ]
        words += ["--organism", "human", "--only", "hic", "--contacts", place / "c.h5"]
        ended = run(["predict", *words, "--plot", place / "maps.svg"])
        assert ended.status == 0, ended.stderr
        assert ended.stdout.splitlines()[0].split("\t") == ["region", "contig", "start", "end"]
        with h5py.File(place / "c.h5") as file:
            assert np.allclose(file["values"][:, 0], self.expected(bundle), atol=1e-5)
        ended = run(["predict", *words, "--plot", place / "maps.svg", "--plot-logo", "open"])
        assert ended.status == 2
        assert "--plot-logo open: no track is drawn, maps alone" in ended.stderr

    def test_a_triangle_is_drawn(self, place):
        words = ["--organism", "human", "--resolution", "128", "--plot", place / "x.svg"]
        ended = predicted(place, *words, bed=self.BED)
        assert ended.status == 0, ended.stderr
        drawn = (place / "x.svg").read_text()
        assert "bases apart" in drawn
        assert "hic" in drawn

    @pytest.mark.parametrize(
        ("words", "said"),
        [
            (["--contacts", "c.txt"], "name it .cool or .h5"),
            (["--only", "hic"], "the tracks chosen are contact maps: --contacts FILE writes them"),
            (["--only", "open", "--contacts", "c.h5"], "no contact maps among the tracks chosen"),
        ],
    )
    def test_what_does_not_fit_is_refused(self, place, words, said):
        ended = predicted(place, "--organism", "human", *words, bed=self.BED, target="none.h5")
        assert ended.status != 0
        assert said in ended.stderr
        assert not (place / "none.h5").exists()


class TestLogo:
    def drawn(self, place, name, *more, bed="a\t4000\t4030\n", reference="ref.fa"):
        words = ["--only", "liver", "--plot", place / "x.svg", "--plot-logo", name, *more]
        return predicted(place, *words, bed=bed, reference=reference)

    def logo(self, place, bundle, region, name="h+", file="ref.fa"):
        with open_reference(place / file) as reference:
            predictor = TrackPredictor(bundle, reference, PredictionOptions(only=["liver"]))
            return TrackLogo.of(predictor, region, name)

    def test_letters_are_those_of_explain_by_gradient_on_both_strands(self, place, bundle):
        begin = 2000
        found = self.logo(place, bundle, Region("a", begin + 2000, begin + 2096, "", 1))
        text = LONG[begin : begin + WINDOW]
        assert found.letters == text[2000:2096]
        reader = track_reader(bundle, ["liver"])
        stretch = Stretch(text, 2000, 2096)
        expected = changes_by_gradient(reader, stretch, 0, both_strands=True)[2000:2096]
        assert np.allclose(found.heights, -np.nanmean(expected, axis=1), rtol=1e-6)
        other = self.logo(
            place,
            bundle,
            Region("a", 9000 - begin - 2096, 9000 - begin - 2000, "", 1),
            "h-",
            "turned.fa",
        )
        scale = np.abs(found.heights).max()
        assert np.allclose(found.heights, other.heights[::-1], atol=1e-4 * scale)

    def test_a_shift_of_the_genome_shifts_the_letters(self, place, bundle):
        one = self.logo(place, bundle, Region("a", 4000, 4030, "", 1))
        other = self.logo(place, bundle, Region("a", 6999, 7029, "", 1), file="later.fa")
        assert other.start - one.start == 2999
        assert np.array_equal(one.heights, other.heights)

    @pytest.mark.parametrize("ending", ["svg", "png"])
    def test_it_is_drawn_above_the_tracks(self, place, ending):
        ended = self.drawn(place, "h+", "--plot", place / f"with.{ending}")
        assert ended.status == 0, ended.stderr
        drawn = (place / f"with.{ending}").read_bytes()
        assert drawn.startswith({"png": b"\x89PNG", "svg": b"<?xml"}[ending])
        self.drawn(place, "h+", "--plot", place / f"again.{ending}")
        assert (place / f"again.{ending}").read_bytes() == drawn
        if ending == "svg":
            text = drawn.decode()
            assert "ln fold change" in text
            assert "h+: what letters add to the ln of its mean (gradient, both strands)" in text
            assert text.index("what letters add") < text.index("<!-- h- -->")

    @pytest.mark.parametrize(
        ("name", "bed", "said"),
        [
            ("open", "a\t4000\t4030\n", "--plot-logo open: no track that is drawn (h+, h-)"),
            (
                "h+",
                "a\t4000\t4401\n",
                "401 letters of the region cannot be read in a picture: at most 400",
            ),
            ("h+", "b\t40\t60\n", "does not fit into a window of 0 bases"),
        ],
    )
    def test_what_cannot_be_drawn_is_refused(self, place, name, bed, said):
        ended = self.drawn(place, name, bed=bed)
        assert ended.status == 2
        assert said in ended.stderr

    def test_it_needs_a_picture(self, place):
        ended = predicted(place, "--only", "liver", "--plot-logo", "h+")
        assert ended.status == 2
        assert "--plot-logo is for --plot" in ended.stderr


class TestScore:
    def test_means_and_largest_values_over_the_bases_that_count(self, bundle):
        expected = outputs(bundle, TEXT)["dnase"]["predictions_1bp"][2000:2100, 0]
        stretch = Stretch(TEXT, 2000, 2100)
        for aggregation, value in (("mean", expected.mean()), ("max", expected.max())):
            means = TrackMeans(bundle, ["open"], both_strands=False, aggregation=aggregation)
            assert np.allclose(means.of_stretches([stretch]), np.log(value), atol=1e-5)

    def test_contacts_of_the_bins_that_count(self, bundle):
        means = TrackMeans(bundle, ["hic"], both_strands=False)
        assert means.labels == ["contacts/hic"]
        expected = outputs(bundle, TEXT)["contact_maps"]["predictions"][..., 0]
        found = means.of_stretches([Stretch(TEXT, 10, 20), Stretch(TEXT, 2040, 2050)])
        assert np.allclose(found[:, 0], [expected[0].mean(), expected.mean()], atol=1e-5)

    @pytest.mark.parametrize(
        ("start", "ref", "alt"),
        [(4000, "A", "T"), (10, "A", "ACGT"), (8990, "ACGTACGTAC", "A"), (8999, "A", "AC")],
    )
    def test_windows_are_as_long_with_either_allele(self, start, ref, alt):
        window = fixed_window_of(Change("a", start, ref, alt), 9000, WINDOW, 2048)
        assert window is not None
        assert window[1] - window[0] == WINDOW
        assert 0 <= window[0] <= start
        assert start + len(ref) <= window[1] <= 9000
        assert fixed_window_of(Change("a", 5, "A", "T"), 2000, WINDOW, 2048) is None
        assert fixed_window_of(Change("a", 5, "A", "T" * 1500), 3000, WINDOW, 2048) is None

    def test_rows_have_either_allele_and_what_is_too_short_is_told(self, place, bundle):
        vcf = "##fileformat=VCFv4.2\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"
        deletion, other = LONG[8994:], "ACGT"[("ACGT".index(LONG[4999]) + 1) % 4]
        vcf += f"a\t5000\t.\t{LONG[4999]}\t{other}\t.\t.\t.\n"
        vcf += f"a\t8995\t.\t{deletion}\t{deletion[0]}\t.\t.\t.\n"
        vcf += f"b\t9\t.\t{SHORT[8]}\t<DEL>,{complement(SHORT[8])}\t.\t.\t.\n"
        (place / "v.vcf").write_text(vcf)
        words = [
            "--model",
            place / "model",
            "--reference",
            place / "ref.fa",
            "--only",
            "open",
            "--flank",
            "50",
        ]
        ended = run(["score", *words, place / "v.vcf"])
        assert ended.status == 0, ended.stderr
        assert "1 on a contig shorter than what the model reads" in ended.stderr
        head, *rows = [line.split("\t") for line in ended.stdout.splitlines()]
        assert len(rows) == 2
        row = dict(zip(head, rows[0], strict=True))
        text = LONG[4999 - 2048 : 4999 + 2048]
        expected = [
            np.log(outputs(bundle, one)["dnase"]["predictions_1bp"][1998:2099, 0].mean())
            for one in (text, text[:2048] + other + text[2049:])
        ]
        assert float(row["tracks/open:ref"]) == pytest.approx(expected[0], abs=1e-4)
        assert float(row["tracks/open"]) == pytest.approx(expected[1] - expected[0], abs=1e-4)

    def test_an_organism_is_of_models_that_tell_them_apart(self, bundle):
        with pytest.raises(UsageError, match="which of human, mouse"):
            TrackMeans(bundle, both_strands=False)


class TestExplain:
    def test_the_gradient_is_the_slope_of_small_changes(self, bundle):
        reader = track_reader(bundle, ["open"])
        changes, mean = reader.gradients(Stretch(TEXT), reader.tracks.index(HUMAN[2]))
        assert mean == pytest.approx(
            float(outputs(bundle, TEXT)["dnase"]["predictions_1bp"].mean()), rel=1e-4
        )
        network = bundle.classifier.networks[0].double()
        try:
            ids = torch.from_numpy(bundle.tokenizer.encode(TEXT)).long()[None]
            at, letter = 1234, "ACGT".index(TEXT[1234])
            other = (letter + 1) % 4
            logs = []
            for step in (0, 1e-6):
                indicators = network.one_hot(ids)
                indicators[0, letter, at] -= step
                indicators[0, other, at] += step
                made = network.embed_one_hot(indicators, torch.tensor([0]))
                logs.append(
                    network.tracks.values_along_genome("dnase", made, torch.tensor([0]), 1)[1]
                    .mean()
                    .log()
                )
        finally:
            network.float()
        assert changes[at, other] == pytest.approx(float(logs[1] - logs[0]) / 1e-6, rel=1e-2)

    @pytest.mark.parametrize("name", ["open", "mark"])
    def test_the_gradient_is_of_the_letters_that_count(self, bundle, name):
        """Of bins of 128 bases those count that the letters reach into, each by how far."""
        reader = track_reader(bundle, [name])
        column = [track.name for track in reader.tracks].index(name)
        stretch = Stretch(TEXT, 1000, 1300)
        network = bundle.classifier.networks[0].double()
        try:
            changes, mean = reader.gradients(stretch, column)
            place = reader.output_slots[column]
            at, letter = 1234, "ACGT".index(TEXT[1234])
            other, logs = (letter + 1) % 4, []
            for step in (0, 1e-6):
                ids = torch.from_numpy(bundle.tokenizer.encode(TEXT)).long()[None]
                indicators = network.one_hot(ids)
                indicators[0, letter, at] -= step
                indicators[0, other, at] += step
                made = network.embed_one_hot(indicators, torch.tensor([0]))
                size, values = network.tracks.values_along_genome(
                    place.head, made, torch.tensor([0]), 1
                )
                bases = values[0, :, place.column].repeat_interleave(size)
                logs.append(float(bases[1000:1300].mean().log()))
        finally:
            network.float()
        assert np.log(mean) == pytest.approx(logs[0], rel=1e-6)
        assert changes[at, other] == pytest.approx((logs[1] - logs[0]) / 1e-6, rel=1e-2)

    def test_a_record_is_a_multiple(self, bundle):
        odds = explained_values(bundle, ["tracks/open"], both_strands=False)
        explainer = Explainer(odds, ["tracks/open"], "gradient")
        with pytest.raises(Exception, match="reads multiples of 2,048"):
            list(explainer.explain([SequenceRecord("x", TEXT[:3000])]))
        ((_, found),) = explainer.explain([SequenceRecord("x", TEXT)])
        assert np.isnan(found.changes).sum() == WINDOW


def test_a_released_folder_names_its_tracks_in_a_table(place, bundle):
    import safetensors.torch

    from genomai_cli.bundles.adapters.alphagenome import released_name

    folder = place / "released"
    folder.mkdir()
    network = bundle.classifier.networks[0]
    tensors = {released_name(n): t.contiguous() for n, t in network.state_dict().items()}
    safetensors.torch.save_file(tensors, folder / "model.safetensors")
    (folder / "config.json").write_text(
        '{"model_type": "alphagenome", "max_relative_distance": 32}'
    )
    (folder / "tracks.tsv").write_bytes((place / "model" / "tracks.tsv").read_bytes())
    words = ["--reference", place / "ref.fa", "--organism", "mouse"]
    (place / "r.bed").write_text("a\t3000\t3100\n")
    found = [
        run(["predict", "--model", place / name, *words, "--regions", place / "r.bed"]).stdout
        for name in ("model", "released")
    ]
    assert found[0] == found[1]
    assert found[0].splitlines()[0].endswith("end\tm+\tm2")
