"""The settings of Evo 2's releases, which its package (evo2 0.6.0) keeps as YAML, under the same keys."""

from typing import Any

ATTENTION_OF_32 = (3, 10, 17, 24, 31)  # blocks with attention
ATTENTION_OF_50 = (*ATTENTION_OF_32, 35, 42, 49)
GROUPS = {1920: 128, 4096: 256, 8192: 512}
MILLION = 1 << 20
FP8 = ("evo2_1b_base", "evo2_20b", "evo2_40b", "evo2_40b_base")  # need it for published accuracy


def _settings(
    width: int, layers: int, attention: tuple[int, ...], inner: int, length: int, **overrides: Any
) -> dict[str, Any]:
    """The settings of a release; blocks without attention have short, medium and long filters in turn."""
    convolutions = [number for number in range(layers) if number not in attention]
    return {
        "vocab_size": 512,
        "hidden_size": width,
        "num_layers": layers,
        "num_attention_heads": width // 128,
        "attn_layer_idxs": list(attention),
        "hcs_layer_idxs": convolutions[0::3],
        "hcm_layer_idxs": convolutions[1::3],
        "hcl_layer_idxs": convolutions[2::3],
        "hcs_filter_length": 7,
        "hcm_filter_length": 128,
        "hcs_filter_groups": GROUPS[width],
        "hcm_filter_groups": GROUPS[width],
        "hcl_filter_groups": width,
        "short_filter_length": 3,
        "short_filter_bias": False,
        "state_size": 16,
        "inner_mlp_size": inner,
        "eps": 1e-6,
        "rotary_emb_base": 10000,
        "column_split_hyena": False,
        "column_split": True,
        "interleave": True,
        "evo2_style_activations": True,
        "tie_embeddings": True,
        "mha_out_proj_bias": True,
        "hyena_out_proj_bias": True,
        "hyena_flip_x1x2": False,
        "qkv_proj_bias": False,
        "final_norm": True,
        "mlp_activation": "gelu",
        "max_seqlen": length,
        **overrides,
    }


def _interpolated(scale: int, base: int = 10000) -> dict[str, Any]:
    """Positions that are divided by a scale, for inputs longer than those of pretraining."""
    return {
        "rotary_emb_base": base,
        "use_interpolated_rotary_pos_emb": True,
        "rotary_emb_scaling_factor": scale,
    }


RELEASED = {
    "evo2_1b_base": _settings(1920, 25, ATTENTION_OF_32[:4], 5120, 8192),
    "evo2_7b_base": _settings(4096, 32, ATTENTION_OF_32, 11008, 32768),
    "evo2_7b_microviridae": _settings(4096, 32, ATTENTION_OF_32, 11008, 32768),
    "evo2_7b_262k": _settings(4096, 32, ATTENTION_OF_32, 11008, 1 << 18, **_interpolated(32)),
    "evo2_7b": _settings(4096, 32, ATTENTION_OF_32, 11264, MILLION, **_interpolated(128)),
    "evo2_20b": _settings(
        8192, 24, ATTENTION_OF_32[:3], 22528, MILLION, **_interpolated(128, 1000000)
    ),
    "evo2_40b_base": _settings(8192, 50, ATTENTION_OF_50, 21888, 8192, rotary_emb_base=1000000),
    "evo2_40b": _settings(8192, 50, ATTENTION_OF_50, 22528, MILLION, **_interpolated(128, 1000000)),
}
