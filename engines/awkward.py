"""Texts on which tokenizers part ways."""

AWKWARD_STRINGS: tuple[str, ...] = (
    "",
    " ",
    "Hello, world!",
    "  leading and trailing  ",
    "runs  of   spaces    of     every      length               end",
    "tabs\tand\t\ttabs \t mixed\t ",
    "lines\nlines\n\nlines\n\n\n\nend\n",
    "windows\r\nline\r\n\r\nends\r",
    " \n \n\t\n   x",
    "trailing newline and spaces\n    ",
    "don't can't we'll I'd you're they've I'm it's o'clock 'tis rock'n'roll",
    "DON'T CAN'T WE'LL I'D YOU'RE THEY'VE I'M IT'S Don'T 'S 'LL",
    "don’t it’s — typographic “quotes” … and dashes–",
    "0 1 12 123 1234 12345 123456 1234567890 3.14159 1,000,000 1e-10 0x7fFF ½ ² ³ Ⅷ ٣٤٥ १२३",
    "2026-11-21T23:59:59Z 192.168.0.1 v1.2.3-rc4 +44 20 7946 0958",
    'def f(x: int) -> str:\n    return f"{x!r:>{10}}"  # comment\n\n\nclass A(B):\n\tpass\n',
    "for (int i = 0; i < n; ++i) { a[i] += b[i]->c & 0xFF; } // <<= >>= != ===",
    "https://example.org/a/b?c=d&e=%20f#g user.name+tag@example.co.uk /usr/lib/x.so.1 C:\\Windows\\x",
    "snake_case camelCase PascalCase kebab-case SCREAMING_CASE iPhone15Pro a1b2c3",
    '{"key": [1, 2.5, null, true], "nested": {"a\\n": "\\u00e9"}}',
    '<html><body class="x">&amp;&nbsp;</body></html> <!-- comment -->',
    "$$\\int_0^1 x^2\\,dx = \\frac{1}{3}$$ ∑ ∞ ≠ ≤ ∀x∈ℝ",
    "café naïve Ångström Straße ŒUVRE İstanbul ﬁne",
    "é ñ à̖́ combining: a\u0301\u0302\u0303 e\u0301 q\u0307\u0323 \u0301alone",
    "👍 🤷🏽‍♀️ 👨‍👩‍👧‍👦 🏳️‍🌈 🇫🇷🇩🇪 ❤️ ☃ 1️⃣ 🧑🏿‍🚀x🧑‍🚀",
    "שלום עולם مرحبا بالعالم mixed עברית and english العربية 123",
    "\u202eright to left override\u202c \u200fmark\u200e \u2066isolate\u2069",
    "你好，世界。これはテストです。カタカナ 한국어 문장입니다 「引用」１２３",
    "Привет, мир! Γειά σου Κόσμε नमस्ते दुनिया สวัสดีชาวโลก Հայերեն ქართული አማርኛ",
    "𝔘𝔫𝔦𝔠𝔬𝔡𝔢 𝒸𝓊𝓇𝓈𝒾𝓋ℯ 🄰🄱 𐍈 𓀀 \U0010fffd",
    "zero\u200bwidth\u200cjoin\u200ders\ufeff no\u00a0break\u2009thin\u3000ideographic\u2028line\u2029para",
    "control \x00\x01\x07\x08\x0b\x0c\x1b[31m\x7f\x85\x9f characters",
    "\ufffd replacement \ufffe\uffff",
    "!!!???...,,,;;;:::---___***///\\\\\\|||~~~```^^^",
    " ! ? . , ;\n!\n?\n.\n",
    "a" * 300,
    " " * 130 + "x",
    "\n" * 70 + "x",
    "abc" * 60 + "1" * 60 + "!" * 60,
    "supercalifragilisticexpialidocious pneumonoultramicroscopicsilicovolcanoconiosis",
    "The quick brown fox jumps over the lazy dog. THE QUICK BROWN FOX.",
)


def around_special_tokens(texts: list[str]) -> list[str]:
    """Each special token's text, alone, inside words, between white space, cut short and doubled."""
    return [
        shape
        for text in texts
        for shape in (text, f"a{text}b", f" {text} ", f"\n{text}\n", text[:-1], f"{text}{text}", f"don't{text}1")
    ]


HELD_OUT_TEXT = """\
The harbour lay quiet under a thin layer of fog when Marta unlocked the workshop. She had promised the
fishermen that the old diesel pump would run again before the weekend, and it was already Thursday. Three
parts were missing: a gasket, a spring, and the small brass valve that nobody had manufactured for twenty
years. The gasket she could cut herself from a sheet of rubber. For the spring she walked to the hardware
shop at the corner, where the owner, a patient man with ink on his fingers, measured four of them until one
fitted. "And the valve?" he asked. "The valve I will have to make," she said, "if the lathe allows it."

Making things is mostly waiting. You wait for the metal to cool, for the glue to set, for the oil to reach
the place where it is needed. People who have never repaired a machine imagine that the difficult part is
knowing what is broken. In practice you usually know after ten minutes; the rest of the day goes into taking
apart what hides it, cleaning what you find, and remembering in which order the washers were stacked. Marta
drew every step on paper before she loosened a screw. Her drawings were not beautiful, but they had numbers
and arrows, and more than once they had saved her a second visit.

By noon the fog had gone. The valve was 14 millimetres long, 6 wide, and had a groove of 0.8 millimetres that
took her two attempts. She tested it with water, then with oil, and listened. A good pump does not sound
strong; it sounds even, like somebody breathing in their sleep. At a quarter past four she called the
harbour office, wrote the bill, and swept the floor. Then she sat down on the bench outside with a cup of
coffee, looked at the boats, and thought that tomorrow she would finally sort the box of springs.
"""
