"""How each family cuts text into words before byte-pair merging, by the name in `tokenizer.ggml.pre`.

Source: the patterns are facts of the models' published `tokenizer.json` files; the names, and which of them share a
pattern, are those of the GGUF writers (llama.cpp, `src/llama-vocab.cpp`).
"""

from __future__ import annotations

from dataclasses import dataclass

from outpace.errors import UnsupportedError

_CONTRACTION = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_SPACES = r"\s+(?!\S)|\s+"
_LINES = rf"\s*[\r\n]+|{_SPACES}"
_GPT2 = rf"'s|'t|'re|'ve|'m|'ll|'d| ?\p{{L}}+| ?\p{{N}}+| ?[^\s\p{{L}}\p{{N}}]+|{_SPACES}"
_DIGIT = r"\p{N}"
_ASCII_TRIPLE = "[0-9][0-9][0-9]"

# Cased letters as of the Unicode version that the first DeepSeek models were made with; newer scripts must stay out.
_DEEPSEEK_CASED = (
    "41-5A 61-7A B5 C0-D6 D8-F6 F8-1BA 1BC-1BF 1C4-293 295-2AF 370-373 376 377 37B-37D 37F 386 388-38A 38C 38E-3A1 "
    "3A3-3F5 3F7-481 48A-52F 531-556 10A0-10C5 13A0-13F5 13F8-13FD 1C90-1CBA 1CBD-1CBF 1D00-1D2B 1D6B-1D77 1D79-1D9A "
    "1E00-1F15 1F18-1F1D 1F20-1F45 1F48-1F4D 1F50-1F57 1F59 1F5B 1F5D 1F5F-1F7D 1F80-1FB4 1FB6-1FBC 1FBE 1FC2-1FC4 "
    "1FC6-1FCC 1FD0-1FD3 1FD6-1FDB 1FE0-1FEC 1FF2-1FF4 1FF6-1FFC 2102 2107 210A-2113 2115 2119-211D 2124 2126 2128 "
    "212A-212D 212F-2134 2139 213C-213F 2145-2149 214E 2183 2184 2C00-2C7B 2C7E-2CE4 2CEB-2CEE 2CF2 2CF3 A640-A66D "
    "A680-A69B A722-A76F A771-A787 A78B-A78E AB70-ABBF FB00-FB06 FB13-FB17 FF21-FF3A FF41-FF5A 10400-1044F 104B0-104D3 "
    "104D8-104FB 10C80-10CB2 10CC0-10CF2 118A0-118DF 1E900-1E943"
)
_DEEPSEEK_CJK = r"[\x{4E00}-\x{9FA5}\x{800}-\x{4E00}\x{AC00}-\x{D7FF}]+"
_DEEPSEEK_MARKS = r"\s?[!-/:-~\x{FF01}-\x{FF0F}\x{FF1A}-\x{FF5E}\x{2018}-\x{201F}\x{3000}-\x{3002}]+"
_KANJI_AND_KANA = r"[\x{4E00}-\x{9FA5}\x{3040}-\x{309F}\x{30A0}-\x{30FF}]+"


@dataclass(frozen=True, slots=True)
class PreTokenizer:
    """A way of cutting text, and the habits of the files that name it.

    Attributes:
        name: As in the file.
        patterns: Regular expressions applied one after another; matches and what lies between them become pieces.
        ignore_merges: A piece that is a token as a whole is taken without merging.
        add_bos: Whether a text starts with the begin-of-sequence token where the file does not say.
    """

    name: str
    patterns: tuple[str, ...]
    ignore_merges: bool = False
    add_bos: bool = False


def _words(letter: str, digits: str, contraction: str = rf"{_CONTRACTION}|") -> str:
    """The shape most families share: contractions, words with one leading mark, digits, marks, line ends, spaces."""
    mark = rf"[^\s{letter}\p{{N}}]"
    return rf"{contraction}[^\r\n\p{{L}}\p{{N}}]?[{letter}]+|{digits}| ?{mark}+[\r\n]*|{_LINES}"


def _cased_words(digits: str, suffix: str) -> str:
    """Words that break where lower case turns to upper, as in the o200k vocabulary."""
    upper, lower, lead = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]", r"[^\r\n\p{L}\p{N}]?"
    words = rf"{lead}{upper}*{lower}+{suffix}|{lead}{upper}+{lower}*{suffix}"
    return rf"{words}|{digits}| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*|{_LINES}"


def _character_class(ranges: str) -> str:
    ends = [part.split("-") for part in ranges.split()]
    return "[" + "".join("-".join(rf"\x{{{end}}}" for end in pair) for pair in ends) + "]"


def _table() -> dict[str, PreTokenizer]:
    llama3 = _words(r"\p{L}", r"\p{N}{1,3}")
    qwen2 = _words(r"\p{L}", r"\p{N}")
    gpt4o = _cased_words(r"\p{N}{1,3}", f"{_CONTRACTION}?")
    deepseek3 = (
        r"\p{N}{1,3}",
        _KANJI_AND_KANA,
        r"[!-/:-@\[-`{-~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|" + _LINES,
    )
    deepseek_llm = (
        r"[\r\n]",
        rf"\s?{_character_class(_DEEPSEEK_CASED)}+",
        _DEEPSEEK_MARKS,
        r"\s+$",
        _DEEPSEEK_CJK,
        r"\p{N}+",
    )
    deepseek_coder = (r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", _DEEPSEEK_CJK, _DIGIT)
    default = (r"[\p{P}\$\+<=>\^~\|]+", _GPT2, r"\p{N}+", _ASCII_TRIPLE)
    falcon = (r"[\p{P}\$\+<=>\^~\|`]+", _GPT2, _ASCII_TRIPLE)
    seed_coder = rf"{_CONTRACTION}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}| ?[^\s\p{{L}}\p{{N}}]+|{_LINES}"

    table: dict[str, PreTokenizer] = {}

    def row(names: str, *patterns: str, ignore_merges: bool = False, add_bos: bool = False) -> None:
        for name in names.split():
            table[name] = PreTokenizer(name, patterns, ignore_merges, add_bos)

    row("default", *default)
    row("gpt-2 a.x-4.0 exaone4 gigachat granite-docling jais mellum mpt olmo phi-2 trillion", _GPT2)
    row("smollm codeshell command-r exaone mellum2 minerva-7b refact starcoder", _DIGIT, _GPT2)
    row("llama-bpe falcon-h1 falcon3 lfm2 llama-v3 llama3 midm-2.0 pixtral", llama3, ignore_merges=True, add_bos=True)
    row("chatglm-bpe dbrx glm4 smaug-bpe", llama3)
    row("qwen2 deepseek-r1-qwen grok-2 hunyuan kormo megrez solar-open stablelm2", qwen2)
    row("qwen35", _words(r"\p{L}\p{M}", r"\p{N}"))
    row("gpt-4o kanana2 llama4 minimax-m2", gpt4o)
    row("tekken", _cased_words(r"\p{N}", ""), ignore_merges=True, add_bos=True)
    row("deepseek-llm", *deepseek_llm)
    row("deepseek-coder", *deepseek_coder)
    row("deepseek-v3 hunyuan-dense", *deepseek3)
    row("falcon", *falcon)
    row("seed-coder", seed_coder)
    return table


def known_pretokenizers() -> tuple[PreTokenizer, ...]:
    """Return all we know; of names that mean the same, the one that gave the way its name comes first."""
    return tuple(_table().values())


def find_pretokenizer(name: str) -> PreTokenizer:
    """Return the pre-tokenizer a file names.

    Raises:
        UnsupportedError: No such name; lists the known ones.
    """
    table = _table()
    if name not in table:
        raise UnsupportedError("pre-tokenizer", name, sorted(table))
    return table[name]
