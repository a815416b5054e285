"""Small configurations of every family of encoders, as their ``config.json`` would say it."""

from __future__ import annotations

from typing import Any, Final

__all__ = ["CASES", "Json"]

Json = dict[str, Any]

BASE: Final[Json] = {
    "vocab_size": 61,
    "hidden_size": 30,
    "intermediate_size": 43,
    "num_hidden_layers": 3,
    "num_attention_heads": 3,
    "max_position_embeddings": 40,
}
DISTIL: Final[Json] = {
    "vocab_size": 61,
    "dim": 30,
    "hidden_dim": 43,
    "n_layers": 3,
    "n_heads": 3,
    "max_position_embeddings": 40,
}

CASES: Final[dict[str, Json]] = {
    "bert": {"model_type": "bert", **BASE},
    "bert-tanh": {
        "model_type": "bert",
        **BASE,
        "num_attention_heads": 5,
        "num_hidden_layers": 1,
        "hidden_act": "gelu_new",
        "type_vocab_size": 3,
        "layer_norm_eps": 1e-5,
        "position_embedding_type": "absolute",
    },
    "roberta": {"model_type": "roberta", **BASE, "type_vocab_size": 1, "pad_token_id": 1},
    "roberta-relu": {
        "model_type": "roberta",
        **BASE,
        "type_vocab_size": 1,
        "pad_token_id": 0,
        "hidden_act": "relu",
        "num_hidden_layers": 2,
        "num_attention_heads": 1,
        "layer_norm_eps": 1e-5,
    },
    "xlm-roberta": {"model_type": "xlm-roberta", **BASE, "type_vocab_size": 1, "pad_token_id": 1},
    "camembert": {"model_type": "camembert", **BASE, "type_vocab_size": 1, "pad_token_id": 1},
    "distilbert": {"model_type": "distilbert", **DISTIL},
    "distilbert-relu": {
        "model_type": "distilbert",
        **DISTIL,
        "activation": "relu",
        "n_heads": 1,
        "n_layers": 2,
    },
    "vit": {
        "model_type": "vit",
        "hidden_size": 30,
        "intermediate_size": 43,
        "num_hidden_layers": 3,
        "num_attention_heads": 3,
        "image_size": 20,
        "patch_size": 5,
        "num_channels": 3,
    },
    "vit-grey": {
        "model_type": "vit",
        "hidden_size": 16,
        "intermediate_size": 21,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "image_size": 12,
        "patch_size": 4,
        "num_channels": 1,
        "qkv_bias": False,
        "hidden_act": "gelu_new",
        "layer_norm_eps": 1e-6,
    },
    "modernbert": {
        "model_type": "modernbert",
        **BASE,
        "num_hidden_layers": 4,
        "local_attention": 6,
        "pad_token_id": 0,
    },
    "modernbert-biases": {
        "model_type": "modernbert",
        **BASE,
        "num_hidden_layers": 3,
        "local_attention": 9,
        "norm_bias": True,
        "global_attn_every_n_layers": 2,
        "attention_bias": True,
        "mlp_bias": True,
        "pad_token_id": 0,
        "hidden_activation": "gelu_pytorch_tanh",
        "global_rope_theta": 5000.0,
        "local_rope_theta": 300.0,
    },
}
