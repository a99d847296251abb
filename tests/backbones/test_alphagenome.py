"""AlphaGenome: the figure's formulas, released files in either layout, track means, lengths, terms, parity."""

import json
import math
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import safetensors.torch
import torch
from conftest import SHARED, needs_shared, run
from torch.nn import functional

from genomai_cli.backbones import alphagenome_tower
from genomai_cli.backbones.alphagenome import AlphaGenomeNetwork
from genomai_cli.backbones.alphagenome_heads import experiment_scale, splice_site_positions
from genomai_cli.backbones.alphagenome_layers import AlphaGenomeConfig, RmsBatchNorm, rotary
from genomai_cli.bundles import bundle as bundles
from genomai_cli.bundles.adapters import alphagenome, alphagenome_jax
from genomai_cli.errors import BundleError, UsageError

CPU = torch.device("cpu")
PARITY = SHARED / "parity" / "alphagenome"
TRACKS = {
    "atac": 3, "dnase": 1, "procap": 2, "cage": 2, "rna_seq": 4, "chip_tf": 2, "chip_histone": 1,
    "contact_maps": 2, "splice_sites": 5, "splice_site_usage": 4, "splice_junctions": 2,
}  # fmt: skip
SIZES = {
    "width": 4, "growth": 2, "blocks": 3, "heads": 2, "key_size": 4, "value_size": 6, "pair_width": 3,
    "pair_heads": 2, "pair_key_size": 4, "distances": 3, "junction_width": 4, "splice_sites": 5,
    "splice_threshold": 0.25, "tracks": TRACKS,
}  # fmt: skip
CONFIG = {"model_type": "alphagenome", "num_splice_sites": 5, "splice_site_threshold": 0.25}
LENGTH = 4096
ORGANISMS = torch.tensor([0, 1])


def tensors():
    """Random tensors under the port's names."""
    rng = torch.Generator().manual_seed(1)
    weights = {}
    for name, tensor in AlphaGenomeNetwork(AlphaGenomeConfig(**SIZES)).state_dict().items():
        fan_in = tensor[0].numel() if tensor.dim() > 1 else 4
        value = torch.randn(tensor.shape, generator=rng) / fan_in**0.5
        positive = name.endswith(("running_var", "track_means", "scale", "norm.weight"))
        weights[alphagenome.released_name(name)] = value.abs() + 0.5 if positive else value
    return weights


def released(folder, weights=None, name="model.safetensors", config=True):
    """A checkpoint in the port's layout."""
    folder.mkdir()
    if config:
        (folder / "config.json").write_text(json.dumps(CONFIG))
    weights = tensors() if weights is None else weights
    if name.endswith(".pth"):
        torch.save(weights, folder / name)
    else:
        safetensors.torch.save_file(weights, folder / name)
    return folder


def loaded(checkpoint, dtype=torch.float64):
    return bundles.load(checkpoint, CPU, dtype).classifier.networks[0]


def random_ids(rows=2, length=LENGTH):
    return torch.randint(0, 5, (rows, length), generator=torch.Generator().manual_seed(2))


def stages(network, ids, organisms=ORGANISMS):
    with torch.inference_mode():
        return network.stages(ids, {"organism_index": organisms[: len(ids)]})


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    return loaded(released(tmp_path_factory.mktemp("x") / "alphagenome"))


@pytest.fixture(scope="module")
def found(network):
    return stages(network, random_ids())


class Reference:
    """The paper's figure for one sequence, channels last, with the tensors by the port's names."""

    def __init__(self, weights, organism):
        self.weights = {name: tensor.double() for name, tensor in weights.items()}
        self.organism = organism

    def batch_norm(self, name, x):
        t = self.weights
        scale = t[f"{name}.weight"] / (t[f"{name}.running_var"] + 1e-5).sqrt()
        return x * scale + t[f"{name}.bias"]

    def norm(self, name, x, centre=False):
        x = x - x.mean(-1, keepdim=True) if centre else x
        x = x / (x.square().mean(-1, keepdim=True) + 1e-5).sqrt()
        return x * self.weights[f"{name}.weight"] + self.weights[f"{name}.bias"]

    def linear(self, name, x):
        weight = self.weights[f"{name}.weight"]
        y = x @ weight.reshape(weight.shape[:2]).T
        return y + self.weights[f"{name}.bias"] if f"{name}.bias" in self.weights else y

    def of_organism(self, name, x):
        layer = self.weights[f"{name}.weight"][self.organism], self.weights[f"{name}.bias"]
        return x @ layer[0].T + layer[1][self.organism]

    def conv(self, name, x):
        weight, bias = self.weights[f"{name}.weight"], self.weights[f"{name}.bias"]
        if f"{name}.scale" in self.weights:
            rows = []
            for kernel, scale in zip(weight, self.weights[f"{name}.scale"], strict=True):
                scaled_variance = max(((kernel - kernel.mean()) ** 2).mean() * kernel.numel(), 1e-4)
                rows.append((kernel - kernel.mean()) / scaled_variance**0.5 * scale)
            weight = torch.stack(rows)
        taps = weight.shape[2]
        padded = functional.pad(x, (0, 0, taps // 2, taps // 2))
        shifted = [padded[tap : tap + len(x)] @ weight[:, :, tap].T for tap in range(taps)]
        return sum(shifted) + bias

    def block(self, name, x):
        return self.conv(f"{name}.conv", gelu(self.batch_norm(f"{name}.norm", x)))

    def encoder(self, ids):
        x = self.conv("encoder.dna_embedder.conv1", torch.eye(5, dtype=torch.float64)[ids][:, :4])
        skips = [x + self.block("encoder.dna_embedder.block", x)]
        for n in range(6):
            x = skips[-1].unflatten(0, (-1, 2)).amax(1)
            y = self.block(f"encoder.down_blocks.{n}.block1", x)
            y[:, : x.shape[1]] += x
            skips.append(y + self.block(f"encoder.down_blocks.{n}.block2", y))
        return skips[-1].unflatten(0, (-1, 2)).amax(1), skips

    def pair_update(self, name, x, pairs):
        bins = self.norm(f"{name}.seq2pair.norm_seq2pair", x.unflatten(0, (-1, 16)).mean(1))
        q, k = (self.linear(f"{name}.seq2pair.linear_{p}", bins).unflatten(1, (2, 4)) for p in "qk")
        widths = [i + (512 - 3 + 1) ** (i / 3) for i in range(3)]
        products = torch.zeros(len(bins), len(bins), 2, dtype=torch.float64)
        for i in range(len(bins)):
            for j in range(len(bins)):
                within = [float(width > abs(j - i)) for width in widths]
                signed_within = [np.sign(j - i) * value for value in within]
                features = torch.tensor([within + signed_within], dtype=torch.float64)
                forward, backward = (
                    self.linear(f"{name}.seq2pair.linear_pos_features", f).view(2, 4)
                    for f in (
                        features,
                        torch.tensor([within + [-s for s in signed_within]]).double(),
                    )
                )
                query_term = (
                    (q[i] + self.weights[f"{name}.seq2pair.q_r_bias"][0, 0]) * forward
                ).sum(1)
                key_term = (
                    (k[j] + self.weights[f"{name}.seq2pair.k_r_bias"][0, 0]) * backward
                ).sum(1)
                products[i, j] = (q[i] * k[j]).sum(1) + 0.5 * (query_term + key_term)
        active = functional.gelu(bins, approximate="tanh")
        y = self.linear(f"{name}.seq2pair.linear_pair", products)
        y = y + self.linear(f"{name}.seq2pair.linear_y_q", active)[:, None]
        y = y + self.linear(f"{name}.seq2pair.linear_y_k", active)[None]
        pairs = y if pairs is None else pairs + y
        normalized = self.norm(f"{name}.row_attn.norm", pairs)
        q, k, v = (self.linear(f"{name}.row_attn.linear_{p}", normalized) for p in "qkv")
        pairs = pairs + (q @ k.transpose(1, 2) / 3**0.5).softmax(2) @ v
        hidden = self.linear(f"{name}.pair_mlp.linear1", self.norm(f"{name}.pair_mlp.norm", pairs))
        return pairs + self.linear(f"{name}.pair_mlp.linear2", hidden.relu())

    def attention(self, name, x, bias):
        h = self.batch_norm(f"{name}.norm", x)
        q = self.linear(f"{name}.q_proj", h).unflatten(1, (2, 4))
        q = rotated(self.norm(f"{name}.norm_q", q, centre=True), range(len(x)), 8192)
        k = self.norm(f"{name}.norm_k", self.linear(f"{name}.k_proj", h), centre=True)
        k = rotated(k[:, None], range(len(x)), 8192)[:, 0]
        v = self.norm(f"{name}.norm_v", self.linear(f"{name}.v_proj", h), centre=True)
        heads = []
        for head in range(2):
            logits = q[:, head] @ k.T / 2
            logits = logits + torch.kron(bias[..., head], torch.ones(16, 16).double())
            heads.append((5 * (logits / 5).tanh()).softmax(1) @ v)
        y = self.linear(f"{name}.linear_embedding", torch.cat(heads, 1))
        return self.batch_norm(f"{name}.final_norm", y)

    def tower(self, x):
        pairs = None
        for n in range(3):
            name = f"tower.blocks.{n}"
            if n % 2 == 0:
                pairs = self.pair_update(f"{name}.pair_update", x, pairs)
            active = self.batch_norm(f"{name}.attn_bias.norm", pairs)
            active = functional.gelu(active, approximate="tanh")
            x = x + self.attention(f"{name}.mha", x, self.linear(f"{name}.attn_bias.proj", active))
            h = self.linear(f"{name}.mlp.fc1", self.batch_norm(f"{name}.mlp.norm", x)).relu()
            x = x + self.batch_norm(f"{name}.mlp.final_norm", self.linear(f"{name}.mlp.fc2", h))
        return x, pairs

    def decoder(self, x, skips):
        for n, skip in enumerate(reversed(skips)):
            name = f"decoder.up_blocks.{n}"
            y = self.block(f"{name}.conv_in", x) + x[:, : skip.shape[1]]
            y = y.repeat_interleave(2, 0) * self.weights[f"{name}.residual_scale"]
            y = y + self.block(f"{name}.pointwise", skip)
            x = y + self.block(f"{name}.conv_out", y)
        return x

    def embedded(self, name, x, coarse=None):
        y = self.linear(f"{name}.project_in", x)
        if coarse is not None:
            y = y + self.linear(f"{name}.project_skip", coarse).repeat_interleave(128, 0)
        y = self.batch_norm(f"{name}.norm", y)
        return gelu(y + self.weights[f"{name}.organism_embed.weight"][self.organism])

    def junctions(self, bases, sites):
        """The reads of each donor and acceptor, strand by strand and tissue by tissue."""
        name, counts = "splice_sites_junction_head", torch.zeros(5, 5, 4, dtype=torch.float64)
        for strand, (donors, acceptors) in enumerate((sites[:2], sites[2:])):
            for tissue in range(2):
                rows = []
                for kind, positions in (("donor", donors), ("acceptor", acceptors)):
                    known = [index for index in positions if index >= 0]
                    params = self.weights[f"{name}.rope_params.{('pos', 'neg')[strand]}_{kind}"]
                    scale, offset = params[self.organism, :, tissue]
                    hidden = self.of_organism(f"{name}.conv", bases[known]) * scale + offset
                    rows.append(rotated(hidden[:, None], known, 1 << 20)[:, 0])
                found = functional.softplus(rows[0] @ rows[1].T)
                counts[: found.shape[0], : found.shape[1], 2 * strand + tissue] = found
        return counts

    def stages(self, ids):
        trunk, skips = self.encoder(ids)
        x, pairs = self.tower(trunk + self.weights["organism_embed.weight"][self.organism])
        tokens = self.embedded("embedder_128bp", x)
        bases = self.embedded("embedder_1bp", self.decoder(x, skips), tokens)
        pairs = self.norm("embedder_pair.norm", (pairs + pairs.transpose(0, 1)) / 2)
        pairs = gelu(pairs + self.weights["embedder_pair.organism_embed.weight"][self.organism])
        found = {"embeddings_1bp": bases, "embeddings_128bp": tokens, "embeddings_pair": pairs}
        found |= {f"enc_bin_size_{1 << n}": skip for n, skip in enumerate(skips)}
        found["enc_trunk"] = trunk
        layer = (
            self.weights["contact_maps_head.linear.weight"],
            self.weights["contact_maps_head.linear.bias"],
        )
        contacts = pairs @ layer[0][self.organism] + layer[1][self.organism]
        found["contact_maps__predictions"] = contacts
        for assay in ("atac", "dnase", "procap", "cage", "rna_seq", "chip_tf", "chip_histone"):
            for resolution, embedding in (1, bases), (128, tokens):
                if assay.startswith("chip") and resolution == 1:
                    continue
                logits = self.of_organism(f"heads.{assay}.convs.{resolution}", embedding)
                scale = self.weights[f"heads.{assay}.residual_scales.{resolution}"][self.organism]
                scaled = functional.softplus(logits) * functional.softplus(scale)
                value = torch.where(scaled > 10, (scaled + 10) ** 2 / 40, scaled)
                value = value ** (4 / 3) if assay == "rna_seq" else value
                means = self.weights[f"heads.{assay}.track_means"][self.organism]
                found[f"{assay}__scaled_predictions_{resolution}bp"] = scaled
                found[f"{assay}__predictions_{resolution}bp"] = value * means * resolution
        for head, activation in (
            ("classification", lambda x: x.softmax(1)),
            ("usage", torch.sigmoid),
        ):
            logits = self.of_organism(f"splice_sites_{head}_head.conv", bases)
            found[f"splice_sites_{head}__logits"] = logits
            found[f"splice_sites_{head}__predictions"] = activation(logits)
        sites = likeliest_positions(found["splice_sites_classification__predictions"], 5, 0.25)
        found["splice_sites_junction__splice_site_positions"] = torch.tensor(sites)
        found["splice_sites_junction__predictions"] = self.junctions(bases, sites)
        return found


def gelu(x):
    return x / (1 + (-1.702 * x).exp())


def rotated(x, positions, longest):
    """Pairs of neighbours (L, H, K) as complex numbers, rotated by their positions."""
    count = x.shape[2] // 2
    wide = [(longest - count + 1) ** (i / (count - 1)) for i in range(count)]
    inverse = 1 / (torch.arange(count) + torch.tensor(wide, dtype=torch.float64))
    angles = torch.tensor(list(positions), dtype=torch.float64)[:, None, None] * inverse
    pairs = torch.view_as_complex(x.unflatten(2, (count, 2)).contiguous())
    return torch.view_as_real(pairs * torch.polar(torch.ones_like(angles), angles)).flatten(2)


def likeliest_positions(probabilities, max_sites, threshold):
    """For each kind of site the positions of the likeliest, ascending, filled up with -1."""
    found = []
    for kind in range(4):
        column = probabilities[:, kind].tolist()
        top = sorted(range(len(column)), key=lambda index: -column[index])[:max_sites]
        positions = sorted(index for index in top if column[index] >= threshold)
        found.append(positions + [-1] * (max_sites - len(positions)))
    return found


def test_every_output_is_that_of_the_papers_figure(found):
    ids = random_ids()
    for row, organism in enumerate(ORGANISMS.tolist()):
        expected = Reference(tensors(), organism).stages(ids[row])
        assert set(found) == {*expected, "splice_sites_junction__splice_junction_mask"}
        for name, value in expected.items():
            torch.testing.assert_close(
                found[name][row], value, rtol=1e-5, atol=1e-5 * value.abs().max(), msg=name
            )
    sites = found["splice_sites_junction__splice_site_positions"]
    assert 0 < (sites < 0).sum() < sites.numel()
    assert (found["splice_sites_junction__predictions"] > 0).any()


def test_attention_in_parts_is_the_same(network, found, monkeypatch):
    monkeypatch.setattr(alphagenome_tower, "MAX_LOGITS", 1)
    in_parts = stages(network, random_ids())
    for name, value in found.items():
        torch.testing.assert_close(in_parts[name], value, msg=name)


def test_a_pair_is_the_same_in_either_order(found):
    for name in ("embeddings_pair", "contact_maps__predictions"):
        torch.testing.assert_close(found[name], found[name].transpose(1, 2))


def test_sequences_are_read_each_by_itself_and_as_human_where_nothing_is_said(network, found):
    ids = random_ids()
    padded, mask = ids.clone(), torch.ones_like(ids, dtype=torch.bool)
    padded[1, 2048:], mask[1, 2048:] = 5, False
    with torch.inference_mode():
        single = network(ids[1:, :2048])
        torch.testing.assert_close(network(padded, mask)[1:, :2048], single)
        torch.testing.assert_close(network(ids)[:1], found["embeddings_1bp"][:1])
        outputs = network.predict(ids, {"organism_index": ORGANISMS})
    assert not torch.equal(network(ids)[1], found["embeddings_1bp"][1])
    torch.testing.assert_close(
        outputs["rna_seq"]["predictions_1bp"], found["rna_seq__predictions_1bp"]
    )


@pytest.mark.parametrize("length", [0, 2047, 5000])
def test_other_lengths_are_refused_and_never_filled_up(network, length):
    with pytest.raises(UsageError, match=r"multiples of 2,048 bases, not "):
        network(torch.zeros(1, length, dtype=torch.long))


def test_the_scale_of_experiments_is_the_inverse_of_the_networks():
    """The network's scale is linear up to 10 and a root beyond, of values over their mean."""
    rng = torch.Generator().manual_seed(3)
    values = torch.rand(2, 50, 3, generator=rng, dtype=torch.float64) * 4000
    means = torch.rand(2, 3, generator=rng, dtype=torch.float64) + 0.5
    for exponent in (None, 0.75):
        scaled = values / (means[:, None] * 128)
        scaled = scaled if exponent is None else scaled**exponent
        scaled = torch.where(scaled > 10, 2 * (scaled * 10).sqrt() - 10, scaled)
        assert (scaled > 10).any()
        assert (scaled < 10).any()
        torch.testing.assert_close(experiment_scale(scaled, means, 128, exponent), values)


def test_rotary_products_depend_on_the_distance():
    rng = torch.Generator().manual_seed(4)
    x = torch.randn(2, 1, 1, 8, generator=rng, dtype=torch.float64)

    def product(first, second):
        q, k = (
            rotary(vector[None], torch.tensor([[position]]), 8192)
            for vector, position in zip(x, (first, second), strict=True)
        )
        return (q * k).sum()

    torch.testing.assert_close(product(3, 10), product(1003, 1010))
    assert abs(product(3, 10) - product(3, 11)) > 1e-3


def test_splice_sites_are_the_likeliest_and_equals_the_first():
    rng = torch.Generator().manual_seed(5)
    for max_sites in (3, 8, 60):
        probabilities = (torch.rand(2, 40, 5, generator=rng) * 10).round() / 10  # many equals
        found = splice_site_positions(probabilities, max_sites, 0.5)
        assert found.tolist() == [likeliest_positions(row, max_sites, 0.5) for row in probabilities]


def test_tissues_that_an_organism_has_not_are_masked():
    config = AlphaGenomeConfig(**SIZES | {"tissues": [2, 1], "splice_threshold": 0.0})
    found = stages(AlphaGenomeNetwork(config).eval(), random_ids())
    mask = found["splice_sites_junction__splice_junction_mask"]
    assert mask[0].all()
    assert mask[1, ..., [0, 2]].all()
    assert not mask[1, ..., [1, 3]].any()
    assert (found["splice_sites_junction__predictions"][~mask] == 0).all()


def test_where_no_site_is_likely_there_are_no_junctions():
    config = AlphaGenomeConfig(**SIZES | {"splice_threshold": 1.1})  # a chance may round to 1
    found = stages(AlphaGenomeNetwork(config).eval(), random_ids(1, 2048))
    assert (found["splice_sites_junction__splice_site_positions"] == -1).all()
    assert found["splice_sites_junction__predictions"].shape == (1, 5, 5, 4)
    assert not found["splice_sites_junction__predictions"].any()


def test_in_training_norms_use_the_batch_and_remember_it():
    norm = RmsBatchNorm(3)
    x = torch.randn(4, 3, 10, generator=torch.Generator().manual_seed(6)) * 3
    mean_square = x.square().mean((0, 2))
    torch.testing.assert_close(norm.train()(x), x / (mean_square + 1e-5).sqrt()[:, None])
    torch.testing.assert_close(norm.running_var, 0.9 + 0.1 * mean_square)
    network = AlphaGenomeNetwork(AlphaGenomeConfig(**SIZES)).train()
    output = network.predict(random_ids(1, 2048))
    sum(output[head]["predictions_128bp"].sum() for head in ("atac", "chip_tf")).backward()
    assert network.encoder.dna_embedder.conv1.weight.grad.isfinite().all()


def as_haiku(name, tensor):
    """A tensor as Haiku lays it out."""
    if ".convs." in name or "_head.conv." in name:
        return tensor.transpose(1, 2) if name.endswith("weight") else tensor
    if name.endswith(("conv.weight", "conv1.weight", "project_in.weight", "project_skip.weight")):
        return tensor.permute(2, 1, 0) if tensor.shape[2] > 1 else tensor[..., 0].T
    if name.endswith("conv.scale"):
        return tensor.reshape(1, 1, -1)
    if name.endswith("residual_scale"):
        return tensor[0]
    if "rope_params" in name:
        return tensor.flatten(1)
    if "rms_batch_norm" in alphagenome_jax.haiku_name(name):
        return tensor.reshape(*[1] * (3 if "attn_bias" in name else 2), -1)
    linear = name.endswith("weight") and tensor.dim() == 2 and "embed.weight" not in name
    return tensor.T if linear else tensor


def haiku_tensors(weights):
    """The same under the official checkpoint's names, which has no means of tracks."""
    return {
        alphagenome_jax.haiku_name(name): as_haiku(name, tensor).contiguous()
        for name, tensor in weights.items()
        if not name.endswith("track_means")
    }


@pytest.mark.parametrize("name", ["any.safetensors", "any.pth"])
def test_a_file_alone_tells_its_sizes(tmp_path, found, name):
    folder = released(tmp_path / "x", name=name, config=False)
    bundle = bundles.load(folder / name, CPU, torch.float64)
    network = bundle.classifier.networks[0]
    assert network.config.splice_sites == 512  # as released: no tensor tells it
    reloaded = stages(network, random_ids())
    for stage, value in found.items():
        if "junction" not in stage:
            torch.testing.assert_close(reloaded[stage], value, msg=stage)
    (folder / "config.json").write_text(json.dumps(CONFIG))
    reloaded = stages(loaded(folder / name), random_ids())
    assert all(torch.equal(reloaded[stage], value) for stage, value in found.items())


@pytest.mark.parametrize(
    ("name", "haiku"),
    [
        ("encoder.dna_embedder.conv1.bias", "sequence_encoder/dna_embedder/conv1_d/b"),
        (
            "encoder.down_blocks.0.block2.conv.bias",
            "sequence_encoder/downres_block_0/conv_block_1/standardized_conv1_d/bias",
        ),
        (
            "decoder.up_blocks.0.pointwise.conv.weight",
            "sequence_decoder/up_res_block/pointwise_conv_unet_skip/linear/w",
        ),
        (
            "decoder.up_blocks.6.conv_in.norm.running_var",
            "sequence_decoder/up_res_block_6/conv_in/rms_batch_norm/var_ema",
        ),
        (
            "tower.blocks.4.pair_update.row_attn.norm.weight",
            "transformer_tower/pair_update_block_2/row_attention_block/layer_norm/scale",
        ),
        (
            "tower.blocks.1.mha.final_norm.bias",
            "transformer_tower/mha_block_1/rms_batch_norm_1/offset",
        ),
        ("tower.blocks.0.mlp.fc2.bias", "transformer_tower/mlp_block/linear_1/b"),
        ("embedder_1bp.project_skip.weight", "output_embedder_1/linear_1/w"),
        ("heads.cage.residual_scales.1", "head/cage/resolution_1/learnt_scale"),
        (
            "splice_sites_junction_head.rope_params.neg_donor",
            "head/splice_sites_junction/neg_donor_logits/embeddings",
        ),
    ],
)
def test_names_in_the_official_checkpoint(name, haiku):
    assert alphagenome_jax.haiku_name(name) == f"alphagenome/{haiku}"


def test_the_official_checkpoints_tensors_are_the_same_network(tmp_path, found):
    folder = released(tmp_path / "x", haiku_tensors(tensors()), "jax.safetensors")
    bundle = bundles.load(folder / "jax.safetensors", CPU, torch.float64)
    loaded_stages = stages(bundle.classifier.networks[0], random_ids())
    for stage, value in found.items():
        if "__predictions_" in stage:
            continue  # in units of the tracks' means, which are no part of it
        torch.testing.assert_close(loaded_stages[stage], value, msg=stage)
    assert any("units of their means" in remark for remark in bundle.remarks)
    report = run(["models", "inspect", folder / "jax.safetensors"])
    assert not {"missing", "unexpected", "misshapen"} & {row[0] for row in report.rows}
    assert ["problem", "."] in report.rows


def test_orbax_is_read_where_its_libraries_are(tmp_path, monkeypatch):
    """Stand-ins for the libraries, of which the program asks these three things."""
    folder = tmp_path / "official"
    folder.mkdir()
    (folder / "_METADATA").write_text("{}")
    output = tmp_path / "mine"
    result = run(["embed", "--model", f"{folder}", "x.fa"], "")
    assert result.status == 1
    for module in ("jax", "orbax", "orbax.checkpoint"):
        monkeypatch.setitem(sys.modules, module, None)
    result = run(["models", "convert", folder, "-o", output])
    assert result.status == 1
    assert not output.exists()
    assert result.stderr.count("\n") == 1
    assert "pip install 'genomai[jax]'" in result.stderr
    parameters, state = {}, {}
    for name, tensor in haiku_tensors(tensors()).items():
        module, _, leaf = name.rpartition("/")
        (state if leaf == "var_ema" else parameters).setdefault(module, {})[leaf] = tensor.numpy()
    tree = (parameters, state)
    checkpointer = SimpleNamespace(
        metadata=lambda path: SimpleNamespace(item_metadata=SimpleNamespace(tree=tree)),
        restore=lambda path, restore_args: tree,
    )
    orbax_checkpoint = SimpleNamespace(PyTreeCheckpointer=lambda: checkpointer, RestoreArgs=dict)
    jax = SimpleNamespace(tree=SimpleNamespace(map=lambda function, tree: tree))
    monkeypatch.setitem(sys.modules, "jax", jax)
    monkeypatch.setitem(sys.modules, "orbax", SimpleNamespace(checkpoint=orbax_checkpoint))
    monkeypatch.setitem(sys.modules, "orbax.checkpoint", orbax_checkpoint)
    result = run(["models", "convert", folder, "-o", output])
    assert result.status == 0, result.stderr
    assert result.stderr.count("non-commercial use only") == 1
    converted = loaded(output)
    scale = tensors()["heads.atac.residual_scales.1"].double()
    torch.testing.assert_close(converted.tracks.assays["atac"].residual_scales["1"].data, scale)


@pytest.mark.parametrize(
    ("means", "message"),
    [
        ([[1.0, 2.0, 3.0], [1.0, 2.0, -3.0]], "not positive"),
        ([[1.0, 2.0, 3.0], [0.0, 0.0, 0.0]], "not positive"),
        ([[1.0, 0.0, 3.0], [1.0, 2.0, 3.0]], "mean of 0 before"),
        ([[1.0, 2.0, 3.0], [1.0, math.nan, 3.0]], "track_means"),
        ([[1.0, 2.0, math.inf], [1.0, 2.0, 3.0]], "track_means"),
        ([[1.0, 2.0], [1.0, 2.0]], "another shape"),
        ([[1.0, 2.0, 3.0]], "another shape"),
    ],
)
def test_means_of_tracks_that_cannot_be_are_refused(tmp_path, means, message):
    weights = tensors() | {"heads.atac.track_means": torch.tensor(means)}
    with pytest.raises(BundleError, match=message) as caught:
        bundles.load(released(tmp_path / "x", weights), CPU)
    assert "atac.track_means" in str(caught.value)


def test_tracks_behind_the_last_real_one_are_zero(tmp_path):
    weights = tensors()
    weights["heads.atac.track_means"][1, 1:] = 0
    found = stages(loaded(released(tmp_path / "x", weights)), random_ids())[
        "atac__predictions_128bp"
    ]
    assert (found[0] > 0).all()
    assert (found[1, :, 0] > 0).all()
    assert (found[1, :, 1:] == 0).all()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda t: t.pop("tower.blocks.1.mha.norm_k.bias"), "missing tensor"),
        (lambda t: t.update(more=torch.ones(1)), "unknown tensor more"),
        (lambda t: t.pop("organism_embed.weight"), "organism_embed"),
    ],
)
def test_a_checkpoint_that_does_not_fit_is_refused(tmp_path, damage, message):
    weights = tensors()
    damage(weights)
    with pytest.raises(BundleError, match=message):
        bundles.load(released(tmp_path / "x", weights), CPU)


def test_the_terms_are_reported_once_and_stay_with_a_converted_model(tmp_path):
    folder, fasta = released(tmp_path / "x"), tmp_path / "x.fa"
    fasta.write_text(">a\n" + "ACGTNACCGA" * 204 + "ACGTACGT\n")
    assert run(["models", "convert", folder, "-o", tmp_path / "mine"]).status == 0
    rows = []
    for model in (folder, tmp_path / "mine"):
        result = run(["embed", "--model", model, "--to", "tsv", fasta])
        assert result.status == 0, result.stderr
        assert result.stderr.count("non-commercial use only") == 1
        rows.append(np.array(result.rows[1][1:], float))
    assert len(rows[0]) == 8
    np.testing.assert_array_equal(rows[0], rows[1])
    short = tmp_path / "short.fa"
    short.write_text(">a\n" + "ACGT" * 750 + "\n")
    result = run(["embed", "--model", folder, "--to", "tsv", short])
    assert result.status == 2
    assert "not 3,000" in result.stderr
    assert result.stdout == ""
    windowed = run(["embed", "--model", folder, "--to", "tsv", "--window", "2048", short])
    assert windowed.status == 0, windowed.stderr


def test_the_released_size(tmp_path):
    with torch.device("meta"):
        network = AlphaGenomeNetwork(AlphaGenomeConfig())
    assert sum(p.numel() for p in network.parameters()) == 450_452_613
    assert len(network.state_dict()) == 677
    shapes = {
        alphagenome.released_name(name): list(tensor.shape)
        for name, tensor in network.state_dict().items()
    }
    sizes = alphagenome.released_sizes(shapes)
    found = alphagenome.bundle_config(sizes, tmp_path / "none", set())["network"]
    assert found.pop("tissues") == [367, 90]
    assert (
        AlphaGenomeConfig(**{n: v for n, v in found.items() if n != "kind"}) == AlphaGenomeConfig()
    )


def stored(folder, network, **changed):
    """A folder of outputs to compare with."""
    ids = random_ids()
    np.save(folder / "input_index.npy", torch.where(ids == 4, -1, ids).to(torch.int8).numpy())
    np.save(folder / "organism_index.npy", ORGANISMS.numpy())
    np.save(folder / "positions_1bp.npy", np.array([0, 7, 4095]))
    for name, value in (stages(network, ids) | changed).items():
        selected = value[:, [0, 7, 4095]] if value.shape[1] == LENGTH else value
        is_half = name == "splice_sites_usage__predictions"
        selected = selected.half().float() if is_half else selected
        np.save(folder / f"expected_{name}.npy", selected.numpy())


def test_verify_compares_every_stage(tmp_path):
    folder = released(tmp_path / "x")
    stored(folder, loaded(folder, torch.float32), other=torch.ones(2, 3))
    result = run(["models", "verify", folder, "--against", folder, "--tolerance", "2e-5"])
    assert result.status == 0, result.stderr
    outcomes = {row[0]: row[2] for row in result.rows[1:]}
    assert outcomes.pop("other") == "not compared"
    assert set(outcomes.values()) == {"OK"}
    assert len(outcomes) == 43
    positions = folder / "expected_splice_sites_junction__splice_site_positions.npy"
    changed = np.load(positions)
    changed[0, 0, 0] += 1
    np.save(positions, changed)
    usage = folder / "expected_splice_sites_usage__predictions.npy"
    np.save(usage, np.load(usage) + 1e-3)
    second = run(["models", "verify", folder, "--against", folder, "--tolerance", "2e-5"])
    assert second.status == 1
    different = {row[0] for row in second.rows[1:] if row[2] == "DIFFERENT"}
    assert different == {positions.stem[9:], usage.stem[9:]}
    np.save(folder / "organism_index.npy", np.array([0, 2]))
    third = run(["models", "verify", folder, "--against", folder])
    assert third.status == 1
    assert "input_index.npy: the model cannot read this" in third.stderr


@needs_shared
@pytest.mark.shared
def test_parity_with_the_original_code():
    result = run(["models", "verify", PARITY, "--against", PARITY, "--tolerance", "2e-5"])
    assert result.status == 0, result.stderr
    outcomes = {row[0]: row[2] for row in result.rows[1:]}
    assert set(outcomes.values()) == {"OK"}
    assert outcomes.keys() >= {"keys official", "splice_sites_junction__predictions", "enc_trunk"}


@needs_shared
@pytest.mark.shared
def test_the_official_checkpoints_names_shapes_and_values():
    entries = json.loads((PARITY / "official_full_size_keys.json").read_text())
    shapes = {entry["jax"]: entry["jax_shape"] for entry in entries.values() if entry["jax"]}
    config = alphagenome_jax.bundle_config(
        alphagenome_jax.released_sizes(shapes), PARITY / "none", set()
    )
    keys = alphagenome_jax.keys(config)
    assert keys.renamed.keys() == shapes.keys()
    assert len(keys.added) == 7
    for name, entry in entries.items():
        if entry["jax"]:
            assert alphagenome_jax.haiku_name(name) == entry["jax"]
            index = keys.renamed[entry["jax"]]
            assert keys.shape_in_bundle(index, tuple(entry["jax_shape"])) == tuple(entry["shape"])
    released, official = (
        bundles.load(PARITY / name, CPU).classifier.networks[0].state_dict()
        for name in ("model.safetensors", "jax_params.safetensors")
    )
    assert all(
        torch.equal(t, official[n]) for n, t in released.items() if not n.endswith("track_means")
    )
