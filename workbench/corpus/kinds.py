"""What kind of file a name says it is: by its ending alone, so that folders of any size are looked through fast."""

from __future__ import annotations

from pathlib import PurePath

# Kinds: text, code, notebook, html, pdf, epub, jsonl, csv, tsv, parquet, arrow, warc; zip, tar, compressed (one file in
# gz, bz2, xz or zst); of sources that are no files: python, address, hub.
SUFFIXES: dict[str, str] = {
    **dict.fromkeys((".txt", ".text", ".md", ".markdown", ".rst", ".tex", ".adoc", ".org"), "text"),
    **dict.fromkeys((".html", ".htm", ".xhtml"), "html"),
    **dict.fromkeys((".jsonl", ".ndjson"), "jsonl"),
    **dict.fromkeys((".warc", ".wet"), "warc"),
    **dict.fromkeys((".gz", ".bz2", ".xz", ".zst"), "compressed"),
    **dict.fromkeys((".tgz", ".tbz2", ".txz", ".tzst"), "tar"),
    ".arrow": "arrow",
    ".csv": "csv",
    ".epub": "epub",
    ".ipynb": "notebook",
    ".parquet": "parquet",
    ".pdf": "pdf",
    ".tar": "tar",
    ".tsv": "tsv",
    ".zip": "zip",
}
ARCHIVES = frozenset({"zip", "tar", "compressed"})
COMPRESSIONS = (".gz", ".bz2", ".xz", ".zst")

# Suffix -> programming language, in the lower-case names of GitHub's linguist.
_LANGUAGES = {
    "ada": ".adb .ads",
    "agda": ".agda",
    "assembly": ".asm .s",
    "awk": ".awk",
    "c": ".c .h",
    "c#": ".cs",
    "c++": ".cc .cpp .cxx .c++ .hh .hpp .hxx",
    "clojure": ".clj .cljs .cljc",
    "cmake": ".cmake",
    "coffeescript": ".coffee",
    "common lisp": ".lisp .cl",
    "crystal": ".cr",
    "css": ".css .scss .less",
    "cuda": ".cu .cuh",
    "d": ".d",
    "dart": ".dart",
    "elixir": ".ex .exs",
    "elm": ".elm",
    "emacs lisp": ".el",
    "erlang": ".erl .hrl",
    "f#": ".fs .fsi .fsx",
    "fortran": ".f .f90 .f95 .f03 .for",
    "glsl": ".glsl .frag .vert",
    "go": ".go",
    "groovy": ".groovy .gradle",
    "haskell": ".hs .lhs",
    "java": ".java",
    "javascript": ".js .jsx .mjs .cjs",
    "julia": ".jl",
    "kotlin": ".kt .kts",
    "lean": ".lean",
    "lua": ".lua",
    "makefile": ".mk",
    "matlab": ".m",
    "nim": ".nim",
    "nix": ".nix",
    "objective-c++": ".mm",
    "ocaml": ".ml .mli",
    "pascal": ".pas .pp",
    "perl": ".pl .pm",
    "php": ".php",
    "powershell": ".ps1 .psm1",
    "prolog": ".pro",
    "protocol buffer": ".proto",
    "python": ".py .pyi .pyx",
    "r": ".r",
    "racket": ".rkt",
    "ruby": ".rb",
    "rust": ".rs",
    "scala": ".scala .sc",
    "scheme": ".scm .ss",
    "shell": ".sh .bash .zsh .fish",
    "solidity": ".sol",
    "sql": ".sql",
    "standard ml": ".sml",
    "swift": ".swift",
    "systemverilog": ".sv .svh",
    "tcl": ".tcl",
    "terraform": ".tf",
    "typescript": ".ts .tsx .mts .cts",
    "vala": ".vala",
    "verilog": ".v",
    "vhdl": ".vhd .vhdl",
    "vim script": ".vim",
    "visual basic": ".vb",
    "vue": ".vue",
    "zig": ".zig",
}
LANGUAGES = {suffix: language for language, listed in _LANGUAGES.items() for suffix in listed.split()}
NAMED = {"makefile": "makefile", "dockerfile": "dockerfile", "cmakelists.txt": "cmake", "rakefile": "ruby"}
READABLE = (
    "What can be read: text (.txt, .md, …), .html, .pdf, .epub, .jsonl, .csv, .tsv, .parquet, .arrow, .warc, "
    "source code, and those inside .zip, .tar, .gz, .bz2, .xz and .zst."
)


def kind_of(name: str) -> str:
    """The kind that a file's name tells, "" for none that can be read."""
    path = PurePath(name.lower())
    if path.suffix in COMPRESSIONS:
        inner = kind_of(path.stem)
        if inner == "warc":  # a crawl's files are compressed record by record, which is part of their format
            return "warc" if path.suffix in (".gz", ".zst") else "compressed"
        return "tar" if inner == "tar" else "compressed" if inner else ""
    if path.name in NAMED or path.suffix in LANGUAGES:
        return "code"
    return SUFFIXES.get(path.suffix, "")


def language_of(name: str) -> str | None:
    """The programming language that a file's name tells."""
    path = PurePath(name.lower())
    return NAMED.get(path.name) or LANGUAGES.get(path.suffix)


def is_programming_language(name: str | None) -> bool:
    """Whether `name` is a programming language as `language_of` names it, and no human one's code."""
    return name in _LANGUAGES or name in NAMED.values() or name == "jupyter notebook"
