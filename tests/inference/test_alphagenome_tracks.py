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
def folder(tmp_path_factory, bundle):
    folder = tmp_path_factory.mktemp("alphagenome")
    save(bundle, folder / "model", Extras("", ""))
    (folder / "ref.fa").write_text(f">a\n{LONG}\n>b\n{SHORT}\n")
    (folder / "turned.fa").write_text(f">a\n{complement(LONG)[::-1]}\n")
    (folder / "later.fa").write_text(f">a\n{letters(2999, 2)}{LONG}\n")
    return folder


def predict(folder, *more, bed="a\t3000\t6500\n", reference="ref.fa", target="x.h5"):
    (folder / "r.bed").write_text(bed)
    arguments = [
        "--model",
        folder / "model",
        "--reference",
        folder / reference,
        "--regions",
        folder / "r.bed",
    ]
    return run(["predict", *arguments, *more, "--to", "hdf5", "-o", folder / target])


def values(folder, *more, **options):
    result = predict(folder, *more, **options)
    assert result.status == 0, result.stderr
    with h5py.File(folder / "x.h5") as file:
        names = [name.decode() for name in file["tracks/name"][:]]
        return dict(zip(names, file["values"][:].T, strict=True))


def outputs(bundle, text, organism=0):
    network = bundle.classifier.networks[0]
    ids = torch.from_numpy(bundle.tokenizer.encode(text)).long()[None]
    predictions = network.predict(ids, {"organism_index": torch.tensor([organism])})
    return {
        name: {k: v[0].numpy() for k, v in arrays.items()} for name, arrays in predictions.items()
    }


class TestNames:
    def test_a_track_is_the_column_of_its_rank_among_those_of_its_organism_and_assay(self):
        assert [tuple(slot) for slot in output_slots(HUMAN + MOUSE)] == [
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
        tracks = unnamed_tracks(config)
        mouse = [track for track in tracks if track.organism == "mouse"]
        counts = {assay: sum(t.assay == assay for t in mouse) for assay in RELEASED_TRACKS}
        assert counts["splice_site_usage"] == 180
        assert counts["contact_maps"] == 8
        assert counts["splice_sites"] == 4
        assert [t.strand for t in mouse if t.name in ("cage_1", "dnase_1", "donor-")] == [
            ".",
            "?",
            "-",
        ]

    def test_columns_that_only_pad_a_head_are_no_tracks(self, bundle):
        network = bundle.classifier.networks[0]
        released = Bundle(bundle.config, bundle.classifier, TrackInput([]))
        original_means = network.tracks.assays["cage"].track_means.clone()
        network.tracks.assays["cage"].track_means[1, 1] = 0
        try:
            names = [track.name for track in track_reader(released, organism="mouse").tracks]
        finally:
            network.tracks.assays["cage"].track_means[:] = original_means
        assert names == ["dnase_1", "cage_1", "chip_histone_1", "contact_maps_1"]

    def test_a_table_of_more_tracks_than_the_network_has_is_refused(self, bundle):
        extended = Bundle(
            bundle.config, bundle.classifier, TrackInput([*HUMAN, *MOUSE, MOUSE[1], MOUSE[1]])
        )
        with pytest.raises(BundleError, match="track m2 of its table is none of the network's"):
            track_reader(extended, organism="human")


class TestPredict:
    def test_the_middle_of_a_window_is_what_the_heads_say(self, folder, bundle):
        tracks = values(folder, "--organism", "human", bed="a\t3500\t4500\n")
        begin = 4000 - WINDOW // 2
        expected = outputs(bundle, LONG[begin : begin + WINDOW])
        region = slice(3500 - begin, 4500 - begin)
        assert np.allclose(tracks["h-"], expected["cage"]["predictions_1bp"][region, 1], rtol=1e-4)
        coarse = np.repeat(expected["chip_histone"]["predictions_128bp"][:, 0] / 128, 128)
        assert np.allclose(tracks["mark"], coarse[region], rtol=1e-4)
        assert set(tracks) == {"h+", "h-", "open", "mark"}

    def test_bins_of_128_are_those_of_the_heads_of_that_resolution(self, folder, bundle):
        begin = 3072
        arguments = ["--organism", "mouse", "--resolution", "128"]
        tracks = values(folder, *arguments, bed=f"a\t{begin + 1024}\t{begin + 3072}\n")
        expected = outputs(bundle, LONG[begin : begin + WINDOW], 1)["dnase"]["predictions_128bp"]
        assert np.allclose(tracks["m2"], expected[8:24, 0] / 128, rtol=1e-4)

    def test_whole_contigs_to_their_ends_and_none_of_what_is_too_short(self, folder):
        predicted = values(folder, "--only", "open", bed="a\t0\t9000\nb\t0\t1500\n")["open"]
        assert not np.isnan(predicted[:9000]).any()
        assert np.isnan(predicted[9000:]).all()

    def test_shifting_the_genome_changes_nothing(self, folder):
        before = values(folder, "--only", "liver")
        after = values(folder, "--only", "liver", bed="a\t5999\t9499\n", reference="later.fa")
        assert all(np.array_equal(before[name], after[name]) for name in ("h+", "h-"))

    def test_both_strands_of_the_other_strand_are_the_same_reversed(self, folder):
        arguments = ["--organism", "human", "--strand", "both"]
        one = values(folder, *arguments)
        other = values(folder, *arguments, bed="a\t2500\t6000\n", reference="turned.fa")
        assert np.allclose(one["h+"], other["h-"][::-1], rtol=1e-4)
        assert np.allclose(one["open"], other["open"][::-1], rtol=1e-4)

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ([], "--organism: which of human, mouse?"),
            (["--organism", "rat"], "--organism rat: the model knows human, mouse"),
            (["--organism", "mouse", "--strand", "both"], "track m+ has no partner"),
            (["--organism", "mouse", "--window", "3000"], "reads multiples of 2,048 up to 4096"),
            (["--organism", "mouse", "--overlap", "2048"], "--overlap 2048"),
            (["--organism", "mouse", "--only", "liver"], "no track has this name"),
        ],
    )
    def test_what_does_not_fit_is_one_line(self, folder, arguments, message):
        result = predict(folder, *arguments, target="none.h5")
        assert result.status == 2
        assert message in result.stderr
        assert not (folder / "none.h5").exists()

    def test_tracks_are_not_filled_from_others(self, folder):
        (folder / "open.bedgraph").write_text("a\t0\t10\t1\n")
        (folder / "t.tsv").write_text("name\tfile\nopen\topen.bedgraph\n")
        arguments = [
            "--tracks",
            folder / "t.tsv",
            "--reference",
            folder / "ref.fa",
            "-o",
            folder / "filled",
        ]
        result = run(["denoise", "--model", folder / "model", *arguments])
        assert result.status != 0
        assert "--organism" in result.stderr or "reads DNA alone" in result.stderr


class TestContacts:
    BED = "a\t4096\t8192\n"

    def expected(self, bundle):
        maps = outputs(bundle, LONG[4096:8192])["contact_maps"]["predictions"][..., 0]
        return [maps[0, 0], maps[0, 1], maps[1, 1]]

    def test_pairs_are_those_of_the_window_and_bins_those_of_the_reference(self, folder, bundle):
        result = predict(folder, "--organism", "human", "--contacts", folder / "c.h5", bed=self.BED)
        assert result.status == 0, result.stderr
        with h5py.File(folder / "c.h5") as file:
            pairs = list(zip(file["pairs/first"][:], file["pairs/second"][:], strict=True))
            assert pairs == [(2, 2), (2, 3), (3, 3)]
            assert np.allclose(file["values"][:, 0], self.expected(bundle), atol=1e-5)
            assert file["bins/end"][:].tolist() == [2048, 4096, 6144, 8192, 9000, 1500]
            assert file["maps/name"][:].tolist() == [b"hic"]

    def test_cooler_reads_the_same(self, folder, bundle):
        cooler = pytest.importorskip("cooler")
        result = predict(
            folder, "--organism", "human", "--contacts", folder / "c.cool", bed=self.BED
        )
        assert result.status == 0, result.stderr
        cooler_file = cooler.Cooler(str(folder / "c.cool"))
        assert cooler_file.chromnames == ["a", "b"]
        matrix = cooler_file.matrix(balance=False).fetch("a:4097-8192")
        one, between, other = self.expected(bundle)
        assert np.allclose(matrix, [[one, between], [between, other]], atol=1e-5)

    def test_every_pair_of_a_contig_once(self, folder):
        bed = "a\t0\t5000\na\t5000\t9000\n"
        assert (
            predict(folder, "--organism", "human", "--contacts", folder / "c.h5", bed=bed).status
            == 0
        )
        with h5py.File(folder / "c.h5") as file:
            pairs = list(zip(file["pairs/first"][:], file["pairs/second"][:], strict=True))
        assert pairs == [(0, 0), (0, 1), (1, 1), (1, 2), (2, 2), (2, 3), (3, 3)]

    def test_maps_alone(self, folder, bundle):
        (folder / "r.bed").write_text(self.BED)
        arguments = [
            "--model",
            folder / "model",
            "--reference",
            folder / "ref.fa",
            "--regions",
            folder / "r.bed",
        ]
        arguments += ["--organism", "human", "--only", "hic", "--contacts", folder / "c.h5"]
        result = run(["predict", *arguments, "--plot", folder / "maps.svg"])
        assert result.status == 0, result.stderr
        assert result.stdout.splitlines()[0].split("\t") == ["region", "contig", "start", "end"]
        with h5py.File(folder / "c.h5") as file:
            assert np.allclose(file["values"][:, 0], self.expected(bundle), atol=1e-5)
        result = run(["predict", *arguments, "--plot", folder / "maps.svg", "--plot-logo", "open"])
        assert result.status == 2
        assert "--plot-logo open: no track is drawn, maps alone" in result.stderr

    def test_a_triangle_is_drawn(self, folder):
        arguments = ["--organism", "human", "--resolution", "128", "--plot", folder / "x.svg"]
        result = predict(folder, *arguments, bed=self.BED)
        assert result.status == 0, result.stderr
        picture = (folder / "x.svg").read_text()
        assert "bases apart" in picture
        assert "hic" in picture

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["--contacts", "c.txt"], "name it .cool or .h5"),
            (["--only", "hic"], "the tracks chosen are contact maps: --contacts FILE writes them"),
            (["--only", "open", "--contacts", "c.h5"], "no contact maps among the tracks chosen"),
        ],
    )
    def test_what_does_not_fit_is_refused(self, folder, arguments, message):
        result = predict(folder, "--organism", "human", *arguments, bed=self.BED, target="none.h5")
        assert result.status != 0
        assert message in result.stderr
        assert not (folder / "none.h5").exists()


class TestLogo:
    def plot(self, folder, name, *more, bed="a\t4000\t4030\n", reference="ref.fa"):
        arguments = ["--only", "liver", "--plot", folder / "x.svg", "--plot-logo", name, *more]
        return predict(folder, *arguments, bed=bed, reference=reference)

    def logo(self, folder, bundle, region, name="h+", file="ref.fa"):
        with open_reference(folder / file) as reference:
            predictor = TrackPredictor(bundle, reference, PredictionOptions(only=["liver"]))
            return TrackLogo.of(predictor, region, name)

    def test_letters_are_those_of_explain_by_gradient_on_both_strands(self, folder, bundle):
        begin = 2000
        logo = self.logo(folder, bundle, Region("a", begin + 2000, begin + 2096, "", 1))
        text = LONG[begin : begin + WINDOW]
        assert logo.letters == text[2000:2096]
        reader = track_reader(bundle, ["liver"])
        stretch = Stretch(text, 2000, 2096)
        expected = changes_by_gradient(reader, stretch, 0, both_strands=True)[2000:2096]
        assert np.allclose(logo.heights, -np.nanmean(expected, axis=1), rtol=1e-6)
        other = self.logo(
            folder,
            bundle,
            Region("a", 9000 - begin - 2096, 9000 - begin - 2000, "", 1),
            "h-",
            "turned.fa",
        )
        scale = np.abs(logo.heights).max()
        assert np.allclose(logo.heights, other.heights[::-1], atol=1e-4 * scale)

    def test_a_shift_of_the_genome_shifts_the_letters(self, folder, bundle):
        one = self.logo(folder, bundle, Region("a", 4000, 4030, "", 1))
        other = self.logo(folder, bundle, Region("a", 6999, 7029, "", 1), file="later.fa")
        assert other.start - one.start == 2999
        assert np.array_equal(one.heights, other.heights)

    @pytest.mark.parametrize("ending", ["svg", "png"])
    def test_it_is_drawn_above_the_tracks(self, folder, ending):
        result = self.plot(folder, "h+", "--plot", folder / f"with.{ending}")
        assert result.status == 0, result.stderr
        picture = (folder / f"with.{ending}").read_bytes()
        assert picture.startswith({"png": b"\x89PNG", "svg": b"<?xml"}[ending])
        self.plot(folder, "h+", "--plot", folder / f"again.{ending}")
        assert (folder / f"again.{ending}").read_bytes() == picture
        if ending == "svg":
            text = picture.decode()
            assert "ln fold change" in text
            assert "h+: what letters add to the ln of its mean (gradient, both strands)" in text
            assert text.index("what letters add") < text.index("<!-- h- -->")

    @pytest.mark.parametrize(
        ("name", "bed", "message"),
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
    def test_what_cannot_be_drawn_is_refused(self, folder, name, bed, message):
        result = self.plot(folder, name, bed=bed)
        assert result.status == 2
        assert message in result.stderr

    def test_it_needs_a_picture(self, folder):
        result = predict(folder, "--only", "liver", "--plot-logo", "h+")
        assert result.status == 2
        assert "--plot-logo is for --plot" in result.stderr


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
        contacts = means.of_stretches([Stretch(TEXT, 10, 20), Stretch(TEXT, 2040, 2050)])
        assert np.allclose(contacts[:, 0], [expected[0].mean(), expected.mean()], atol=1e-5)

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

    def test_rows_have_either_allele_and_what_is_too_short_is_told(self, folder, bundle):
        vcf = "##fileformat=VCFv4.2\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"
        deletion, other = LONG[8994:], "ACGT"[("ACGT".index(LONG[4999]) + 1) % 4]
        vcf += f"a\t5000\t.\t{LONG[4999]}\t{other}\t.\t.\t.\n"
        vcf += f"a\t8995\t.\t{deletion}\t{deletion[0]}\t.\t.\t.\n"
        vcf += f"b\t9\t.\t{SHORT[8]}\t<DEL>,{complement(SHORT[8])}\t.\t.\t.\n"
        (folder / "v.vcf").write_text(vcf)
        arguments = [
            "--model",
            folder / "model",
            "--reference",
            folder / "ref.fa",
            "--only",
            "open",
            "--flank",
            "50",
        ]
        result = run(["score", *arguments, folder / "v.vcf"])
        assert result.status == 0, result.stderr
        assert "1 on a contig shorter than what the model reads" in result.stderr
        header, *rows = [line.split("\t") for line in result.stdout.splitlines()]
        assert len(rows) == 2
        row = dict(zip(header, rows[0], strict=True))
        text = LONG[4999 - 2048 : 4999 + 2048]
        expected = [
            np.log(outputs(bundle, sequence)["dnase"]["predictions_1bp"][1998:2099, 0].mean())
            for sequence in (text, text[:2048] + other + text[2049:])
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
            position, letter = 1234, "ACGT".index(TEXT[1234])
            other = (letter + 1) % 4
            log_means = []
            for step in (0, 1e-6):
                indicators = network.one_hot(ids)
                indicators[0, letter, position] -= step
                indicators[0, other, position] += step
                embeddings = network.embed_one_hot(indicators, torch.tensor([0]))
                log_means.append(
                    network.tracks.values_along_genome("dnase", embeddings, torch.tensor([0]), 1)[1]
                    .mean()
                    .log()
                )
        finally:
            network.float()
        assert changes[position, other] == pytest.approx(
            float(log_means[1] - log_means[0]) / 1e-6, rel=1e-2
        )

    @pytest.mark.parametrize("name", ["open", "mark"])
    def test_the_gradient_is_of_the_letters_that_count(self, bundle, name):
        """Of bins of 128 bases those count that the letters reach into, each by how far."""
        reader = track_reader(bundle, [name])
        column = [track.name for track in reader.tracks].index(name)
        stretch = Stretch(TEXT, 1000, 1300)
        network = bundle.classifier.networks[0].double()
        try:
            changes, mean = reader.gradients(stretch, column)
            slot = reader.output_slots[column]
            position, letter = 1234, "ACGT".index(TEXT[1234])
            other, log_means = (letter + 1) % 4, []
            for step in (0, 1e-6):
                ids = torch.from_numpy(bundle.tokenizer.encode(TEXT)).long()[None]
                indicators = network.one_hot(ids)
                indicators[0, letter, position] -= step
                indicators[0, other, position] += step
                embeddings = network.embed_one_hot(indicators, torch.tensor([0]))
                size, values = network.tracks.values_along_genome(
                    slot.head, embeddings, torch.tensor([0]), 1
                )
                bases = values[0, :, slot.column].repeat_interleave(size)
                log_means.append(float(bases[1000:1300].mean().log()))
        finally:
            network.float()
        assert np.log(mean) == pytest.approx(log_means[0], rel=1e-6)
        assert changes[position, other] == pytest.approx(
            (log_means[1] - log_means[0]) / 1e-6, rel=1e-2
        )

    def test_a_record_is_a_multiple(self, bundle):
        means = explained_values(bundle, ["tracks/open"], both_strands=False)
        explainer = Explainer(means, ["tracks/open"], "gradient")
        with pytest.raises(Exception, match="reads multiples of 2,048"):
            list(explainer.explain([SequenceRecord("x", TEXT[:3000])]))
        ((_, explanation),) = explainer.explain([SequenceRecord("x", TEXT)])
        assert np.isnan(explanation.changes).sum() == WINDOW


def test_a_released_folder_names_its_tracks_in_a_table(folder, bundle):
    import safetensors.torch

    from genomai_cli.bundles.adapters.alphagenome import released_name

    released = folder / "released"
    released.mkdir()
    network = bundle.classifier.networks[0]
    tensors = {released_name(n): t.contiguous() for n, t in network.state_dict().items()}
    safetensors.torch.save_file(tensors, released / "model.safetensors")
    (released / "config.json").write_text(
        '{"model_type": "alphagenome", "max_relative_distance": 32}'
    )
    (released / "tracks.tsv").write_bytes((folder / "model" / "tracks.tsv").read_bytes())
    arguments = ["--reference", folder / "ref.fa", "--organism", "mouse"]
    (folder / "r.bed").write_text("a\t3000\t3100\n")
    tables = [
        run(["predict", "--model", folder / name, *arguments, "--regions", folder / "r.bed"]).stdout
        for name in ("model", "released")
    ]
    assert tables[0] == tables[1]
    assert tables[0].splitlines()[0].endswith("end\tm+\tm2")
