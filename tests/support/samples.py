"""Texts that tokenizers disagree about."""
# ruff: noqa: RUF001

import random

SAMPLES = (
    "",
    " ",
    "Hello, world! I'll say it's what we've DON'T they're 'S",
    "  two leading, trailing two  ",
    "tabs\tand\t\ttabs \t mixed\n\n\nlines\r\nof every\rkind \n  indented\n\n    more",
    "1 12 123 1234 12345678901234567890 3.14159 1,000,000 0x7F 1e-9 x2y3",
    "½ ² Ⅻ ٣٤٥ １２３ ૧૨",
    "def f(x: int) -> int:\n    return x**2  # square\n\n\nclass A(B):\n\tpass\n",
    'for (auto& [k, v] : m) { std::cout << k << "=>" << v << "\\n"; }',
    '{"a": [1, 2.5, null], "b\\u00e9": "\\t"}',
    "SELECT * FROM t WHERE a>=b AND c!='d';--note",
    "Zażółć gęślą jaźń. Fußgänger übergrößen! ¿Qué? Îles d’Hyères…",
    "Съешь же ещё этих мягких французских булок, да выпей чаю.",
    "Ὁ ἄνθρωπος φύσει πολιτικὸν ζῷον.",
    "我们今天去看电影，然后吃晚饭。１００元！「引号」",
    "吾輩は猫である。名前はまだ無い。カタカナ、ｶﾀｶﾅ",
    "동해물과 백두산이 마르고 닳도록",
    "नमस्ते दुनिया, क्षत्रिय",
    "สวัสดีครับ ผมชื่ออเล็กซ์",
    "مرحبا بالعالم، كيف حالك؟ السّلامُ",
    "שלום עולם",
    "ქართული ენა, ᲥᲐᲠᲗᲣᲚᲘ; Հայերեն",
    "🎉 👩‍👩‍👧‍👦 🇩🇪 👍🏽 ❤️ ☃",
    "e\u0301 a\u0308o\u0302 (decomposed) _\u0301j",
    "zero\u200bwidth\u200djoiner\ufeffbom nbsp\u00a0thin\u2009ideographic\u3000next\u0085line\u2028sep",
    "quotes “curly” ‘single’ «guillemets» — dash – … ‹›",
    "$€£¥ ^`~|<>+= ©®™ ∑∫√∞ ≤≥ ←→",
    "CamelCaseWordsHTTPServer snake_case_words kebab-case-words 'tis the '90s",
    "a" * 300,
    " " * 70 + "x" + "\n" * 20,
    "!!!???...---===///***",
    "ǅ Ǆ ﬁ ﬀ ﬃ ſ ß İ ı",
    "𝔘𝔫𝔦𝔠𝔬𝔡𝔢 𝒽𝑒𝓁𝓁𝑜 𐐀𐐨 𞤀",
)

_PIECES = [
    *"abeloryzABE019 '.,;-_/\n\t",
    "  ",
    "\r\n",
    "é",
    "ß",
    "я",
    "Ω",
    "你",
    "の",
    "한",
    "ा",
    "\u0301",
    "🎉",
    "٣",
    "ll",
    "'s",
]


def random_texts(count: int, seed: int = 0) -> list[str]:
    """Short texts of letters, marks, digits, spaces and line ends from many scripts, the same every time."""
    rng = random.Random(seed)
    return ["".join(rng.choices(_PIECES, k=rng.randint(1, 40))) for _ in range(count)]
