"""A GGUF file that llama.cpp has open: weights, vocabulary and metadata."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from pathlib import Path

from engines.llamacpp import extra_buffers as extra
from engines.llamacpp import libraries
from workbench.errors import WorkbenchError


class Weights:
    """An opened model. Text goes in and out as bytes of UTF-8, tokens as ids."""

    def __init__(self, path: Path, *, extra_buffers: bool | None = None, gpu: bool = True):
        """`extra_buffers` None: as this machine bears them. `gpu`: use one where llama.cpp was built for it.

        Raises `WorkbenchError` if there is no such file or llama.cpp cannot read it.
        """
        self._llama = llama = libraries.llama()
        self.path = path
        check_file(path)
        parameters = llama.llama_model_default_params()
        parameters.use_extra_bufts = extra.work_here() if extra_buffers is None else extra_buffers
        if not gpu:
            parameters.n_gpu_layers = 0
        self.handle = llama.llama_model_load_from_file(bytes(path), parameters)
        if not self.handle:
            raise WorkbenchError(
                f"llama.cpp cannot open {path}: {libraries.last_log_lines() or 'no reason given'}.",
                "The file is damaged, cut short, or of a kind that this version does not know: export it anew.",
            )
        self._vocab = llama.llama_model_get_vocab(self.handle)
        self.vocab_size: int = llama.llama_vocab_n_tokens(self._vocab)
        self.trained_length: int = llama.llama_model_n_ctx_train(self.handle)
        self.bos = self._token(llama.llama_vocab_bos(self._vocab))
        self.eos = self._token(llama.llama_vocab_eos(self._vocab))
        self.pad = self._token(llama.llama_vocab_pad(self._vocab))
        self.adds_bos: bool = llama.llama_vocab_get_add_bos(self._vocab)
        self._buffer = ctypes.create_string_buffer(256)

    def close(self) -> None:
        if self.handle:
            self._llama.llama_model_free(self.handle)
            self.handle = None

    def metadata(self, key: str) -> str | None:
        """A metadata value as text."""
        for size in (4096, 1 << 20):
            buffer = ctypes.create_string_buffer(size)
            length = self._llama.llama_model_meta_val_str(self.handle, key.encode(), buffer, size)
            if length < 0:
                return None
            if length < size:
                return buffer.value.decode("utf-8", "replace")
        return None

    def chat_template(self) -> str | None:
        """The Jinja template in the file, where there is one."""
        template = self._llama.llama_model_chat_template(self.handle, None)
        return template.decode("utf-8", "replace") if template else None

    def tokenize(self, text: str, *, special: bool) -> list[int]:
        """Ids of `text`, without BOS; texts of special tokens become those only if `special`."""
        data = text.encode("utf-8", "surrogatepass")
        room = len(data) + 16
        tokens = (ctypes.c_int32 * room)()
        count = self._llama.llama_tokenize(self._vocab, data, len(data), tokens, room, False, special)
        assert count >= 0, "byte-level BPE never makes more tokens than bytes"
        return tokens[:count]

    def piece(self, token: int) -> bytes:
        """The bytes that a token stands for; none for a control token."""
        return self._piece(token, special=False)

    def text(self, token: int) -> str:
        """A token's text, of control tokens too."""
        return self._piece(token, special=True).decode("utf-8", "replace")

    def ends_answer(self, token: int) -> bool:
        """Whether generation stops at `token`."""
        return self._llama.llama_vocab_is_eog(self._vocab, token)

    def stops(self) -> list[int]:
        """All ids at which generation stops."""
        return [token for token in range(self.vocab_size) if self.ends_answer(token)]

    def prompt(self, text: str) -> Sequence[int]:
        """Ids of a rendered prompt: special tokens count, BOS comes first where the model wants one."""
        tokens = self.tokenize(text, special=True)
        if self.bos is not None and (not tokens or (self.adds_bos and tokens[0] != self.bos)):
            tokens.insert(0, self.bos)
        return tokens

    def start(self) -> int | None:
        """The token that a text begins after: BOS, else EOS, else none."""
        return self.bos if self.bos is not None else self.eos

    def _piece(self, token: int, *, special: bool) -> bytes:
        length = self._llama.llama_token_to_piece(self._vocab, token, self._buffer, len(self._buffer), 0, special)
        if length < 0:  # a run of many spaces can be one long token
            self._buffer = ctypes.create_string_buffer(-length)
            length = self._llama.llama_token_to_piece(self._vocab, token, self._buffer, -length, 0, special)
        return self._buffer.raw[:length]

    @staticmethod
    def _token(number: int) -> int | None:
        return number if number >= 0 else None


def find_file(path: Path) -> Path:
    """The GGUF file that `path` is, or that lies in the folder `path`.

    Raises `WorkbenchError` if there is none.
    """
    if path.is_dir():
        found = sorted(path.glob("*.gguf"))
        if (path / "model.gguf") in found:
            return path / "model.gguf"
        if len(found) == 1:
            return found[0]
        raise WorkbenchError(
            f"The folder {path} has {'no' if not found else len(found)} .gguf file{'s' if len(found) != 1 else ''}.",
            "Name the file itself." if found else "Export the model first: workbench export MODEL.",
        )
    return path


def check_file(path: Path) -> None:
    """Raises `WorkbenchError` if `path` is not a GGUF file."""
    try:
        with open(path, "rb") as file:
            magic = file.read(4)
    except FileNotFoundError:
        raise WorkbenchError(f"There is no file {path}.", "Export the model first: workbench export MODEL.") from None
    except OSError as error:
        raise WorkbenchError(f"{path} cannot be read: {error.strerror}.", "Check the file's permissions.") from None
    if not magic:
        raise WorkbenchError(f"{path} is empty.", "Export the model again, or name another .gguf file.")
    if magic != b"GGUF":
        raise WorkbenchError(f"{path} is not a GGUF file: it begins with {magic!r}.", "Name a .gguf file or an export.")
