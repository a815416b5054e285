"""Lists the keys of configurations that change nothing, each with the reason."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

__all__ = ["HARMLESS", "NEUTRAL"]

HARMLESS: Final[Mapping[str, str]] = {
    **dict.fromkeys(
        (
            "_name_or_path",
            "architectures",
            "auto_map",
            "dtype",
            "model_type",
            "name_or_path",
            "torch_dtype",
            "transformers_version",
            "unsloth_fixed",
            "unsloth_version",
        ),
        "says what wrote the file, or as what to load it; storage types are those of the tensors",
    ),
    **dict.fromkeys(
        (
            "attention_dropout",
            "attn_pdrop",
            "aux_loss_alpha",
            "classifier_dropout",
            "dropout",
            "embd_pdrop",
            "embedding_dropout",
            "hidden_dropout",
            "initializer_range",
            "layerdrop",
            "mlp_dropout",
            "output_router_logits",
            "resid_pdrop",
            "residual_dropout",
            "router_aux_loss_coef",
            "router_jitter_noise",
            "seq_aux",
            "std_init",
        ),
        "is used in training only",
    ),
    **dict.fromkeys(
        (
            "_attn_implementation",
            "attn_implementation",
            "cache_implementation",
            "chunk_size_feed_forward",
            "ep_size",
            "gradient_checkpointing",
            "output_attentions",
            "output_hidden_states",
            "pretraining_tp",
            "reorder_and_upcast_attn",
            "return_dict",
            "torchscript",
            "use_bfloat16",
            "use_cache",
            "use_return_dict",
        ),
        "chooses among ways to compute the same result, or what else to return",
    ),
    **dict.fromkeys(
        (
            "bos_token_id",
            "eos_token_id",
            "pad_token_id",
            "sep_token_id",
            "unk_token_id",
            "decoder_start_token_id",
            "tokenizer_class",
        ),
        "belongs to the tokenizer, or to generation; end tokens are read by :func:`.folder.end_tokens`",
    ),
    **dict.fromkeys(
        (
            "bad_words_ids",
            "diversity_penalty",
            "do_sample",
            "early_stopping",
            "encoder_no_repeat_ngram_size",
            "exponential_decay_length_penalty",
            "forced_bos_token_id",
            "forced_eos_token_id",
            "length_penalty",
            "max_length",
            "min_length",
            "no_repeat_ngram_size",
            "num_beam_groups",
            "num_beams",
            "num_return_sequences",
            "output_scores",
            "remove_invalid_values",
            "repetition_penalty",
            "return_dict_in_generate",
            "suppress_tokens",
            "begin_suppress_tokens",
            "temperature",
            "top_k",
            "top_p",
            "typical_p",
        ),
        "is a setting of sampling, which a request makes",
    ),
    **dict.fromkeys(
        (
            "finetuning_task",
            "id2label",
            "label2id",
            "num_labels",
            "problem_type",
            "prefix",
            "summary_activation",
            "summary_first_dropout",
            "summary_proj_to_labels",
            "summary_type",
            "summary_use_proj",
            "task_specific_params",
        ),
        "belongs to heads other than the language model's",
    ),
}
"""Keys that no family reads because they cannot change logits, each with the reason."""

NEUTRAL: Final[Mapping[str, tuple[object, ...]]] = {
    "add_cross_attention": (False,),
    "cross_attention_hidden_size": (None,),
    "is_decoder": (True, False),  # read by encoders only; a causal mask is applied either way
    "is_encoder_decoder": (False,),
    "per_layer_config": (None, {}),
    "pruned_heads": (None, {}),
    "tf_legacy_loss": (False,),
    "tie_encoder_decoder": (False,),
}
"""Keys of every family that are accepted with values that change nothing."""
