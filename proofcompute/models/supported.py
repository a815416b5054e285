"""Lists the checkpoints that can be read; the help of ``import`` and docs/supported.md are made from it."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from typing import Final

from proofcompute.models.named_rules import NAMED_RULES, same_rules
from proofcompute.models.text_parts import NORMALISERS, SPLITTERS
from proofcompute.models.word_rules import RULES

__all__ = [
    "ARCHITECTURES",
    "ENCODERS",
    "FAMILIES",
    "PRECISIONS",
    "STORAGE_TYPES",
    "TOKENIZERS",
    "TOKENIZER_JSON",
    "WORD_RULES",
    "page",
    "summary",
]

ARCHITECTURES: Final[Mapping[str, str]] = {
    "llama": "Llama 2 and 3, SmolLM 1 and 2, Mistral without a sliding window, Mixtral, and others alike",
    "qwen2": "Qwen 2 and 2.5",
    "qwen3": "Qwen 3",
    "qwen2moe": "Qwen 1.5 and 2 with experts",
    "qwen3moe": "Qwen 3 with experts",
    "gemma": "Gemma 1",
    "gemma2": "Gemma 2",
    "gemma3": "Gemma 3, text only",
    "phi2": "Phi 1, 1.5 and 2",
    "phi3": "Phi 3, 3.5 and 4",
    "olmo2": "OLMo 2 and 3",
    "olmoe": "OLMoE",
    "smollm3": "SmolLM 3",
    "granite": "Granite 3 and 4, dense",
    "command-r": "Command R and Aya",
    "cohere2": "Command R7B and Command A",
    "stablelm": "StableLM 3B and StableLM 2",
    "starcoder2": "StarCoder 2; its files do not state the window, so attention reaches all positions",
    "gpt2": "GPT-2",
    "gptneox": "GPT-NeoX and Pythia",
    "glm4": "GLM 4",
    "exaone4": "EXAONE 4",
    "gpt-oss": "gpt-oss",
    "deepseek2": "DeepSeek V2, V3 and R1; one group of experts where the file does not say how many",
}
"""``general.architecture`` of a GGUF file -> its models."""
FAMILIES: Final[Mapping[str, str]] = {
    "llama": "Llama 2 and 3, SmolLM 1 and 2, and others alike",
    "mistral": "Mistral",
    "mixtral": "Mixtral",
    "qwen2": "Qwen 2 and 2.5",
    "qwen3": "Qwen 3",
    "qwen2_moe": "Qwen 1.5 and 2 with experts",
    "qwen3_moe": "Qwen 3 with experts",
    "gemma": "Gemma 1",
    "gemma2": "Gemma 2",
    "gemma3_text": "Gemma 3 without vision",
    "gemma3": "the decoder of Gemma 3 with vision",
    "phi": "Phi 1, 1.5 and 2",
    "phi3": "Phi 3, 3.5 and 4",
    "olmo2": "OLMo 2",
    "olmoe": "OLMoE",
    "smollm3": "SmolLM 3",
    "granite": "Granite 3, dense",
    "cohere": "Command R and Aya",
    "cohere2": "Command R7B and Command A",
    "stablelm": "StableLM 3B and StableLM 2",
    "starcoder2": "StarCoder 2",
    "gpt2": "GPT-2",
    "gpt_neox": "GPT-NeoX and Pythia",
    "glm": "GLM 4 of 2024",
    "glm4": "GLM 4 of 2025",
    "exaone4": "EXAONE 4",
    "gpt_oss": "gpt-oss",
    "deepseek_v2": "DeepSeek V2",
    "deepseek_v3": "DeepSeek V3 and R1",
}
"""``model_type`` of a config.json -> its models."""
ENCODERS: Final[Mapping[str, str]] = {
    "bert": "BERT, MiniLM and others alike, with token types",
    "roberta": "RoBERTa",
    "xlm-roberta": "XLM-RoBERTa and multilingual encoders made of it",
    "camembert": "CamemBERT",
    "distilbert": "DistilBERT",
    "modernbert": "ModernBERT",
    "vit": "ViT, of pictures of one size; the output is the last state of the class token",
}
"""``model_type`` of an encoder's folder -> its models."""
STORAGE_TYPES: Final = tuple(
    "F32 F16 BF16 Q4_0 Q4_1 Q5_0 Q5_1 Q8_0 Q2_K Q3_K Q4_K Q5_K Q6_K IQ2_XXS IQ2_XS IQ2_S IQ3_XXS IQ3_S "
    "IQ1_S IQ1_M IQ4_NL IQ4_XS TQ1_0 TQ2_0 MXFP4".split()
)
"""Storage types of weights; weights are converted to float32 before they are quantised."""
TOKENIZERS: Final[Mapping[str, str]] = {
    "gpt2": "byte-level BPE with ranked merges, with one of the rules for words below",
    "llama": "SentencePiece BPE with scores and byte fallback",
    "t5": "SentencePiece Unigram",
    "bert": "WordPiece",
}
"""``tokenizer.ggml.model`` -> what it is."""
TOKENIZER_JSON: Final[Mapping[str, str]] = {
    "BPE": "byte-level BPE, and SentencePiece BPE with byte fallback",
    "Unigram": "SentencePiece Unigram, with byte fallback or without",
    "WordPiece": "as BERT has it",
}
"""``model.type`` of a tokenizer.json -> what it is."""
WORD_RULES: Final = tuple(NAMED_RULES)
"""Names of word rules in GGUF files."""
PRECISIONS: Final[Mapping[str, str]] = {
    "w8a8": "one limb for weights, one for activations",
    "w8a16": "one limb for weights, two for activations",
    "w16a16": "two limbs for both, and for queries, keys and values (default of encoders)",
    "auto": "two limbs for those weights whose rounding shows, and for activations, queries, keys and values "
    "(default of decoders)",
}
"""Precision of a compiled model -> what it means."""


def summary() -> str:
    """Return a paragraph about what can be imported."""
    return (
        "Supported are GGUF files (versions 2 and 3, whole or in parts) of the architectures "
        f"{_list(ARCHITECTURES)}, with tokenizers {_list(TOKENIZERS)}, rules for words "
        f"{_list(sorted(WORD_RULES))}, and weights stored as {_list(STORAGE_TYPES)}; and folders in the "
        "layout of Hugging Face (config.json, safetensors, tokenizer.json) of the families "
        f"{_list(FAMILIES)}, and of encoders {_list(ENCODERS)}, with tokenizers {_list(TOKENIZER_JSON)}; "
        "and ONNX files."
    )


def page() -> str:
    """Return the text of docs/supported.md."""
    lines = [
        "# What can be imported",
        "",
        "Made by `python -m proofcompute.models.supported > docs/supported.md`; a test compares the two.",
        "GGUF files of versions 2 and 3, little-endian, whole or split into",
        "parts that lie beside one another, and folders in the layout of Hugging Face:",
        "config.json, weights in safetensors files, tokenizer.json.",
        "",
    ]
    for title, table in (
        ("Architectures of GGUF files", ARCHITECTURES),
        ("Families of folders, by `model_type` of config.json", FAMILIES),
        ("Encoders in folders, by `model_type` of config.json", ENCODERS),
        ("Tokenizers in GGUF files", TOKENIZERS),
        ("Tokenizers in tokenizer.json", TOKENIZER_JSON),
        ("Precisions of the compiled model", PRECISIONS),
    ):
        lines += [f"## {title}", "", "| name | what it is |", "|---|---|"]
        lines += [f"| `{name}` | {what} |" for name, what in table.items()]
        lines.append("")
    lines += [
        "An encoder's rows become one as `modules.json` and the file of its pooling say, as",
        "`sentence-transformers` writes them: the first or last row, the mean or the maximum, perhaps",
        "divided by its length. Without these files there is an output for each row. Encoders with",
        "decoders (Whisper, T5, BART) are not read. A picture is its patches, row by row and channels",
        "first, scaled as the model wants them, behind a row of anything for the class token.",
        "",
    ]
    lines += [
        "## Networks in ONNX files",
        "",
        "An ONNX file (extra `onnx`) becomes a model that takes arrays ([guide](guides/any-model.md)), with",
        "`w16a16` unless `--precision` says otherwise, if its operators are [among these](onnx-coverage.md).",
        "`--shape` says the length of axes that the file leaves open, `--pixels` that an input is made of",
        "pictures, `--constant` that it is part of the program. Read are, for instance, ResNet,",
        "MobileNetV3, ConvNeXt, Swin and LSTM as PyTorch exports them, trees as skl2onnx does, Silero VAD.",
        "A node that cannot be lowered is named with the reason.",
        "",
    ]
    lines += ["## Rules for words", "", "Of `gpt2` tokenizers; names in one line mean the same rule.", ""]
    lines += [f"- {_list(sorted(f'`{name}`' for name in names))}" for names in same_rules()]
    lines += [
        "",
        "In a tokenizer.json a rule is recognised by its regular expression, letter by letter, and one that",
        f"is not known is refused. Known are {_list(f'`{name}`' for name in RULES)}.",
        f"Known normalisers are {_list(f'`{name}`' for name in NORMALISERS)};",
        f"known pre-tokenizers are {_list(f'`{name}`' for name in SPLITTERS)}",
        "([their meaning](spec/vocabulary.md#parts)).",
    ]
    lines += ["", "## Storage types of weights", "", _list(f"`{kind}`" for kind in STORAGE_TYPES) + "."]
    lines += [
        "",
        "In folders: F32, F16 and BF16; int8 rows with a scale each, as compressed-tensors stores W8A8; and",
        "MXFP4 for the experts of gpt-oss. Pickled weights are not read, as such a file can run code.",
        "",
        "Whatever in a file could change the computation and is not understood is refused by name: another",
        "architecture, a metadata key of the architecture or the tokenizer with another than its neutral",
        "value, a key of config.json that is neither read nor known to be harmless, a tensor that is no part",
        "of the network. Keys of GGUF metadata and of config.json that change nothing and are not read are",
        "listed by `proofcompute inspect`.",
    ]
    return "\n".join(lines) + "\n"


def _list(names: Iterable[str]) -> str:
    return ", ".join(names)


if __name__ == "__main__":
    sys.stdout.write(page())
