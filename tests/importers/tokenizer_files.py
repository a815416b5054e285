"""Small tokenizers of every family, trained here with the ``tokenizers`` library, and texts to try them on.

Each has the normaliser, pre-tokeniser, decoder, post-processor and kinds of added tokens of its family, as
their published files have them, and some hundred tokens.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from tokenizers.trainers import BpeTrainer, UnigramTrainer, WordPieceTrainer

from importers.charsmap_writer import charsmap
from proofcompute.models.word_rules import RULES

SPACE = "\u2581"
PROSE = (
    "The quick brown fox jumps over the lazy dog, and it's 2024 already; they'll say we've been here before.",
    "Le garçon naïf a mangé à l'hôtel où il était né, ça va sans dire. Größe, Übung, Straße, señor, mañana.",
    "Η γρήγορη αλεπού πηδάει πάνω από το τεμπέλικο σκυλί. Быстрая лиса прыгает через ленивую собаку.",
    "الثعلب السريع يقفز فوق الكلب الكسول. השועל המהיר קופץ מעל הכלב העצלן.",
    "तेज़ लोमड़ी आलसी कुत्ते के ऊपर कूदती है। สุนัขจิ้งจอกกระโดดข้ามสุนัข ខ្មែរ ភាសា អក្សរ",
    "敏捷的棕色狐狸跳过了懒狗。すばやい茶色の狐がのろまな犬を飛び越える。",
    "빠른 갈색 여우가 게으른 개를 뛰어넘는다.",
    "def f(x):\n    return x ** 2 + 10  # 1234567890\n\nfor i in range(100):\n    print(f(i))\n",
)
TEXTS = (
    "",
    " ",
    "a",
    "  two  spaces   and    more     ",
    *PROSE,
    "tab\tand\r\nCRLF\n\n\nand\rCR \n \t\n",
    "numbers 1 12 123 1234 12345.678 ½ ² Ⅷ ٣٤٥ १२३ 一二三",
    "e\u0301 n\u0303 o\u0308\u0323 \u0301alone, \u212b \ufb01 \uff21\uff11 \u1100\u1161\u11a8 \u2126",
    "emoji 😀 👩\u200d👩\u200d👧\u200d👦 🏳️\u200d🌈 👍🏽 🇩🇪 ☃️",
    "rtl \u202eabc\u202c \u200fمرحبا\u200e \u2067x\u2069 \ufeff bom",
    "controls \x00\x01\x1d\x7f\x85 \u2028\u2029 \u00a0nbsp\u3000wide\u2003em",
    "l" + "o" * 700 + "ng " + "aé日" * 90 + " " + "-" * 300,
    "It's I'LL we'Ve x'S fooBarBaz HTTPServer snake_case a.b/c:d;e \\n {}[]()<> `~!@#$%^&*",
    "\u2581literal \u2581\u2581 marks Ġ Ċ ## ##ing <0x0A> <0x41> � \U0010ffff \ud7ff",
    "<s>hello</s> <s> </s>world<unk>[CLS] a [SEP][UNK][MASK] <pad><|endoftext|>x<|endoftext|> <|end|>",
    "<|im_start|>user\n  hi  <|im_end|>\n<tool_call>{}</tool_call>\n\n<|eot|>\u2581<mask>word<mask> ",
    "<one>xone <one> a fox, two foxes and andy\n and <|end|>  <mask>  </s>x</s> ",
    "a</s><s>b <s>c</s >d< s>e<s><s>f\u2581</s>\u2581<s>g </s> ",
)


def special(name: str, **flags: bool) -> AddedToken:
    return AddedToken(name, **{"normalized": False, **flags}, special=True)


def word(name: str, **flags: bool) -> AddedToken:
    return AddedToken(name, **{"normalized": False, **flags}, special=False)


def template(begin: Sequence[str], end: Sequence[str], tokenizer: Tokenizer) -> Any:
    ids = [(name, tokenizer.token_to_id(name)) for name in dict.fromkeys([*begin, *end])]
    return processors.TemplateProcessing(
        single=[*begin, "$A", *end], pair=[*begin, "$A", *end, "$B:1"], special_tokens=ids
    )


# -- byte-level BPE ----------------------------------------------------------------------------------------
def byte_level(
    split: Sequence[Any],
    *,
    normaliser: Any = None,
    rule: bool = False,
    space: bool = False,
    ignore_merges: bool = False,
    first: Sequence[AddedToken] = (),
    added: Sequence[AddedToken] = (),
    begin: Sequence[str] = (),
) -> Tokenizer:
    """A byte-level BPE; ``first`` are tokens of its model too, as GPT-2's <|endoftext|> is."""
    tokenizer = Tokenizer(models.BPE(ignore_merges=ignore_merges))
    if normaliser is not None:
        tokenizer.normalizer = normaliser
    level = pre_tokenizers.ByteLevel(add_prefix_space=space, trim_offsets=True, use_regex=rule)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([*split, level]) if split else level
    tokenizer.decoder = decoders.ByteLevel()
    trainer = BpeTrainer(
        vocab_size=560,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=list(first),
        show_progress=False,
    )
    tokenizer.train_from_iterator(PROSE, trainer)
    tokenizer.add_tokens(list(added))
    offsets = processors.ByteLevel(trim_offsets=False)
    after = [template(begin, (), tokenizer)] if begin else []
    tokenizer.post_processor = processors.Sequence([offsets, *after])
    return tokenizer


def rules(*names: str) -> list[Any]:
    return [pre_tokenizers.Split(Regex(RULES[name]), "isolated") for name in names]


DIGITS = pre_tokenizers.Digits(individual_digits=True)
CHAT = (special("<|endoftext|>"), special("<|im_start|>"), special("<|im_end|>"))
TOOLS = (word("<tool_call>"), word("</tool_call>"))


# -- SentencePiece -----------------------------------------------------------------------------------------
def spaced_bpe() -> tuple[dict[str, int], list[tuple[str, str]]]:
    """A vocabulary with three special tokens, 256 bytes, and characters and words with U+2581 for spaces."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    names = ["<unk>", "<s>", "</s>", *(f"<0x{b:02X}>" for b in range(256))]
    tokenizer.train_from_iterator(
        PROSE, BpeTrainer(vocab_size=850, special_tokens=names, show_progress=False)
    )
    model = json.loads(tokenizer.to_str())["model"]
    return model["vocab"], [tuple(merge) for merge in model["merges"]]


def spaced(
    normaliser: Any,
    splitter: Any,
    *,
    strip: bool,
    added: Sequence[AddedToken] = (),
    flags: dict[str, bool] | None = None,
    begin: Sequence[str] = ("<s>",),
) -> Tokenizer:
    vocab, merges = spaced_bpe()
    tokenizer = Tokenizer(
        models.BPE(vocab=vocab, merges=merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True)
    )
    if normaliser is not None:
        tokenizer.normalizer = normaliser
    if splitter is not None:
        tokenizer.pre_tokenizer = splitter
    ending = [decoders.Strip(content=" ", left=1, right=0)] if strip else []
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse(), *ending]
    )
    tokenizer.add_tokens([special(name, **(flags or {})) for name in ("<unk>", "<s>", "</s>")])
    tokenizer.add_tokens(list(added))
    tokenizer.post_processor = template(begin, (), tokenizer)
    return tokenizer


PREPEND = normalizers.Sequence([normalizers.Prepend(SPACE), normalizers.Replace(" ", SPACE)])


def metaspace(scheme: str, *, split: bool) -> Any:
    return pre_tokenizers.Metaspace(replacement=SPACE, prepend_scheme=scheme, split=split)


def unigram(
    normaliser: Any,
    splitter: Any,
    decoder: Any,
    *,
    byte_fallback: bool = False,
    begin: Sequence[str] = (),
    end: Sequence[str] = ("</s>",),
) -> Tokenizer:
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normaliser
    tokenizer.pre_tokenizer = metaspace("always", split=True)
    trainer = UnigramTrainer(
        vocab_size=500,
        special_tokens=["<pad>", "</s>", "<unk>", "<s>"],
        unk_token="<unk>",
        show_progress=False,
    )
    tokenizer.train_from_iterator(PROSE, trainer)
    file = json.loads(tokenizer.to_str())
    if byte_fallback:
        file["model"]["vocab"] += [[f"<0x{b:02X}>", -20.0 - b / 8] for b in range(256)]
        file["model"]["byte_fallback"] = True
    tokenizer = Tokenizer.from_str(json.dumps(file))
    if splitter is not None:
        tokenizer.pre_tokenizer = splitter
    else:
        tokenizer.pre_tokenizer = metaspace("never", split=False)
    tokenizer.decoder = decoder
    tokenizer.add_tokens([special("<mask>", lstrip=True), word("<one>", single_word=True)])
    tokenizer.post_processor = template(begin, end, tokenizer)
    return tokenizer


MAP = {"ﬁ": "fi", "Å": "Å", "Ω": "Ω", "½": "1/2", "\t": " ", "\n": " ", "é": "é", "\u00a0": " ", "\u200f": ""}


# -- WordPiece ---------------------------------------------------------------------------------------------
def wordpiece(*, lowercase: bool, strip_accents: bool | None = None) -> Tokenizer:
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]", max_input_chars_per_word=60))
    tokenizer.normalizer = normalizers.BertNormalizer(
        clean_text=True, handle_chinese_chars=True, strip_accents=strip_accents, lowercase=lowercase
    )
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    names = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    trainer = WordPieceTrainer(vocab_size=600, special_tokens=names, show_progress=False)
    tokenizer.train_from_iterator(PROSE[:5], trainer)
    tokenizer.decoder = decoders.WordPiece(prefix="##", cleanup=False)
    tokenizer.post_processor = template(("[CLS]",), ("[SEP]",), tokenizer)
    return tokenizer


RUNS = [word(" " * n, normalized=True) for n in (8, 4, 2)]
FAMILIES: dict[str, Callable[[], Tokenizer]] = {
    "gpt-2": lambda: byte_level([], rule=True, first=[special("<|endoftext|>", normalized=True)]),
    "gpt-2 with a space": lambda: byte_level([], rule=True, space=True, first=CHAT[:1]),
    "gpt-neox": lambda: byte_level([], rule=True, normaliser=normalizers.NFC(), first=CHAT[:1], added=RUNS),
    "llama 3": lambda: byte_level(rules("llama3"), ignore_merges=True, added=CHAT, begin=["<|endoftext|>"]),
    "qwen 2": lambda: byte_level(rules("qwen2"), normaliser=normalizers.NFC(), added=[*CHAT, *TOOLS]),
    "starcoder 2, smollm, granite": lambda: byte_level([DIGITS], rule=True, first=CHAT),
    "cohere": lambda: byte_level(
        [DIGITS], rule=True, normaliser=normalizers.NFC(), first=CHAT, begin=["<|endoftext|>"]
    ),
    "glm 4": lambda: byte_level(
        rules("llama3"), added=[*CHAT, special("[gMASK]"), special("<sop>")], begin=["[gMASK]", "<sop>"]
    ),
    "gpt-oss": lambda: byte_level(rules("o200k"), added=CHAT),
    "mistral nemo": lambda: byte_level(
        rules("tekken"), ignore_merges=True, first=CHAT, begin=["<|im_start|>"]
    ),
    "phi 4": lambda: byte_level(rules("cl100k"), added=[special("<|im_start|>", lstrip=True, rstrip=True)]),
    "qwen 3.5": lambda: byte_level(rules("qwen3.5"), normaliser=normalizers.NFC(), added=CHAT),
    "deepseek 2": lambda: byte_level(
        [*rules("lines", "deepseek_cased", "deepseek_signs", "deepseek_end", "deepseek_cjk"), DIGITS],
        normaliser=normalizers.Sequence([]),
        added=CHAT,
    ),
    "deepseek 3": lambda: byte_level(
        rules("three_numbers", "deepseek3_cjk", "deepseek3"),
        added=[*CHAT, *TOOLS, word("<\uff5cUser\uff5c>")],
    ),
    "added tokens with flags": lambda: byte_level(
        [],
        rule=True,
        first=[
            special("<mask>", lstrip=True),
            special("<s>", rstrip=True),
            special("</s>", single_word=True),
        ],
        added=[
            word("<one>", single_word=True),
            word("fox", normalized=True),
            word("two", lstrip=True, rstrip=True),
            special("<|end|>", normalized=True, rstrip=True),
            special("and", single_word=True, normalized=True),
        ],
    ),
    "llama 2": lambda: spaced(PREPEND, None, strip=True),
    "llama 2, normalised names": lambda: spaced(PREPEND, None, strip=True, flags={"normalized": True}),
    "mistral": lambda: spaced(None, metaspace("first", split=False), strip=True),
    "mistral, always": lambda: spaced(None, metaspace("always", split=True), strip=True),
    "gemma": lambda: spaced(
        normalizers.Replace(" ", SPACE),
        pre_tokenizers.Split(" ", "merged_with_previous"),
        strip=False,
        added=[word("\n"), word("\n\n"), word(SPACE), word("<mask>")],
    ),
    "phi 3": lambda: spaced(
        PREPEND,
        None,
        strip=True,
        added=[special("<|end|>", rstrip=True), special("<|im_start|>", rstrip=True)],
        begin=(),
    ),
    "t5": lambda: unigram(
        normalizers.Precompiled(charsmap(MAP)),
        pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), metaspace("always", split=True)]),
        decoders.Metaspace(),
    ),
    "xlm-roberta": lambda: unigram(
        normalizers.Sequence(
            [
                normalizers.Precompiled(charsmap(MAP)),
                normalizers.Strip(left=False, right=True),
                normalizers.Replace(Regex(" {2,}"), SPACE),
            ]
        ),
        metaspace("always", split=True),
        decoders.Metaspace(),
        begin=["<s>"],
    ),
    "unigram with bytes": lambda: unigram(
        PREPEND,
        None,
        decoders.Sequence(
            [
                decoders.Replace(SPACE, " "),
                decoders.ByteFallback(),
                decoders.Fuse(),
                decoders.Strip(content=" ", left=1, right=0),
            ]
        ),
        byte_fallback=True,
    ),
    "unigram, nfkc": lambda: unigram(
        normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase(), normalizers.StripAccents()]),
        metaspace("first", split=True),
        decoders.Metaspace(prepend_scheme="first"),
    ),
    "bert": lambda: wordpiece(lowercase=True),
    "bert, cased": lambda: wordpiece(lowercase=False, strip_accents=True),
}


@cache
def family(name: str) -> Tokenizer:
    """The library's tokenizer of a family."""
    return FAMILIES[name]()


@cache
def file(name: str) -> str:
    """Its ``tokenizer.json``."""
    return family(name).to_str()
