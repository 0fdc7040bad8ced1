"""From conversations to token ids, and which of them are trained on.

Trained are the assistant's answers with the token that ends a turn: by the template's `{% generation %}` markers,
else from where the prompt for the answer ends to the end of the turn. The special tokens of a rendering are those
that the template writes; text inside a message never becomes one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from tokenizers.decoders import DecodeStream

from workbench.corpus.chats.encoded import Asked, Conversation, Encoded
from workbench.corpus.chats.model_folder import TEMPLATE_FILE, load_tokenizer, own_template, read_config, token_text
from workbench.corpus.chats.rendered import RenderedIds
from workbench.corpus.chats.template import ChatTemplate, Messages, Rendering
from workbench.corpus.encoding import byte_of_character
from workbench.errors import WorkbenchError

TrainOn = Literal["assistant", "completion", "all"]
OUR_TEMPLATE = Path(__file__).parent.with_name(TEMPLATE_FILE)
TURN_BEGIN, TURN_END = "<|im_start|>", "<|im_end|>"
NAMED = ("bos_token", "eos_token", "pad_token", "unk_token", "sep_token", "cls_token", "mask_token")
BYTE_LEVEL_SPACE, SENTENCEPIECE_SPACE = "Ġ", "▁"
BATCH = 1024  # conversations encoded at once: their offsets take about 100 bytes a token


class ChatTokenizer:
    """The tokenizer and the chat template of a model's folder.

    `template` is the Jinja source, `has_own_template` whether the folder brought it: where it did not, it is
    ChatML, whose turns end in `<|im_end|>`, or in the tokenizer's EOS if that is no token of it.
    """

    def __init__(self, folder: Path):
        """Raises `WorkbenchError` if there is no tokenizer, or its files cannot be read."""
        self.folder = folder
        self._tokenizer = load_tokenizer(folder / "tokenizer.json")
        config = read_config(folder)
        self.special: dict[str, int] = {
            added.content: number
            for number, added in self._tokenizer.get_added_tokens_decoder().items()
            if added.special
        }
        named = {role: text for role in NAMED if (text := token_text(config.get(role))) is not None}
        ids = {role: self._tokenizer.token_to_id(text) for role, text in named.items()}
        self.bos_id: int | None = ids.get("bos_token")
        self.eos_id: int | None = ids.get("eos_token")
        self.pad_id: int | None = ids.get("pad_token")
        self._rendered = RenderedIds(self._tokenizer, self.special)
        self._says_add_bos = config.get("add_bos_token")
        self.vocab_size: int = self._tokenizer.get_vocab_size(with_added_tokens=True)
        own = own_template(folder, config)
        self.has_own_template = own is not None
        self.template: str = own if own is not None else self._chatml(named)
        name = f"of {folder.name}" if self.has_own_template else "ChatML"
        self._template = ChatTemplate(self.template, name=name, variables=named, special=self.special)

    @property
    def has_markers(self) -> bool:
        """Whether the template says by `{% generation %}` what is trained on."""
        return self._template.has_markers

    @cached_property
    def end_ids(self) -> tuple[int, ...]:
        """Tokens that end an answer: the one that the template puts behind it, then EOS; none if there is neither."""
        found = []
        if (turn_end := self._turn_end) is not None:
            found.append(turn_end)
        if self.eos_id is not None and self.eos_id not in found:
            found.append(self.eos_id)
        return tuple(found)

    def render(
        self, messages: Messages, tools: Sequence[Any] | None = None, add_generation_prompt: bool = False
    ) -> str:
        """The conversation as the template writes it. Raises `WorkbenchError` if the template refuses it."""
        return self._template.render(messages, tools, add_generation_prompt=add_generation_prompt).text

    def conversation(
        self, messages: Messages, tools: Sequence[Any] | None = None, train_on: TrainOn = "assistant", source: str = ""
    ) -> Encoded:
        """The tokens of one conversation.

        `train_on`: "assistant" trains every answer, "completion" the last one alone, "all" everything.
        Raises `WorkbenchError` if the template refuses the conversation, or (without markers) writes a turn
        in another way once the answer follows it, so that nobody can say where the answer begins.
        """
        return self.conversations([Conversation(messages, tools, source)], train_on)[0]

    def conversations(self, rows: Iterable[Conversation], train_on: TrainOn = "assistant") -> list[Encoded]:
        """The tokens of many, encoded on all threads. Raises as `conversation`, naming the row."""
        found: list[Encoded] = []
        pending: list[_Spans] = []
        for row in rows:
            pending.append(self._spans(row, train_on))
            if len(pending) == BATCH:
                found += self._encode(pending)
                pending = []
        return found + self._encode(pending)

    def prompt(self, messages: Messages, tools: Sequence[Any] | None = None) -> np.ndarray:
        """Ids of the messages, ready for the assistant's turn: int32 [L]."""
        rendering = self._template.render(messages, tools, add_generation_prompt=True)
        return self._rendered.ids([rendering])[0][0]

    def answered(
        self, prompt: Messages, completion: Messages, tools: Sequence[Any] | None = None, source: str = ""
    ) -> Encoded:
        """A prompt and an answer to it, all of which is trained on: of a pair, of a mark.

        One encoding of the whole, divided before the first token that holds a character of the answer: so two
        answers to one prompt have the same prompt ids, unless the template lets the prompt's last characters run
        into the answer and the tokenizer joins them. It ends in the turn's end token.
        Raises `WorkbenchError` as `conversation`, and if nothing can end the answer.
        """
        return self.answers([Asked(prompt, [completion], tools, source)])[0][0]

    def answers(self, rows: Iterable[Asked]) -> list[tuple[Encoded, ...]]:
        """Of each prompt its answers, as `answered` encodes them, many at once. Raises as that, naming the row."""
        found: list[tuple[Encoded, ...]] = []
        pending: list[list[_Answer]] = []
        for row in rows:
            with _naming(row.source):
                pending.append(self._answers(row))
            if len(pending) == BATCH:
                found += self._encode_answers(pending)
                pending = []
        return found + self._encode_answers(pending)

    def completion(
        self, prompt: Messages, completion: Messages, tools: Sequence[Any] | None = None, source: str = ""
    ) -> tuple[np.ndarray, np.ndarray]:
        """Ids of a prompt and of the answer to it, both int32, divided as in `answered`."""
        whole = self.answered(prompt, completion, tools, source)
        start = len(whole.ids_L) - int(whole.trained_L.sum())
        return whole.ids_L[:start], whole.ids_L[start:]

    def is_end(self, ids_L: np.ndarray) -> np.ndarray:
        """Which tokens end an answer, bool [L]. numpy's `isin` takes a hundred times as long on so few values."""
        found_L = np.zeros(len(ids_L), bool)
        for number in self.end_ids:
            found_L |= ids_L == number
        return found_L

    def no_end(self) -> WorkbenchError:
        """The error where no token can end an answer."""
        return WorkbenchError(
            f"The tokenizer in {self.folder.name} has no token that ends an answer: no EOS.",
            "Name one as eos_token in tokenizer_config.json.",
        )

    def document(self, text: str) -> np.ndarray:
        """Ids of plain text, int32 [L]: after BOS, where the tokenizer puts one, and before EOS, where it has one.

        No template is used.
        """
        ids = self._rendered.plain.encode_batch_fast([text], add_special_tokens=False)[0].ids
        begin = [self.bos_id] if self._adds_bos and self.bos_id is not None else []
        end = [] if self.eos_id is None else [self.eos_id]
        return np.array([*begin, *ids, *end], np.int32)

    def pieces(self, ids: Iterable[int]) -> Iterator[str]:
        """The text of each token, special ones too; bytes of a character wait for its last."""
        stream = DecodeStream(skip_special_tokens=False)
        for number in ids:
            yield stream.step(self._tokenizer, int(number)) or ""

    def token_text(self, number: int) -> str:
        """The token as it stands in the vocabulary."""
        return self._tokenizer.id_to_token(number) or ""

    def token_bytes(self, number: int) -> bytes:
        """The bytes that the token stands for, also where they are only part of a character."""
        text = self.token_text(number)
        if text in self.special:
            return text.encode()
        if re.fullmatch(r"<0x[0-9A-Fa-f]{2}>", text):
            return bytes([int(text[3:5], 16)])
        if self._tokenizer.token_to_id(BYTE_LEVEL_SPACE) is not None:
            table = byte_of_character()
            return b"".join(bytes([table[c]]) if c in table else c.encode() for c in text)
        return text.replace(SENTENCEPIECE_SPACE, " ").encode()

    # ------------------------------------------------------------------ answers to a prompt

    def _answers(self, row: Asked) -> list[_Answer]:
        if not self.end_ids:
            raise self.no_end()
        before = self._template.render(row.prompt, row.tools, add_generation_prompt=True).text
        asked = self._template.render(row.prompt, row.tools).text
        found = []
        for completion in row.completions:
            whole = self._template.render([*row.prompt, *completion], row.tools)
            if not whole.text.startswith(before):
                raise self._not_a_prefix(len(row.prompt))
            conversation = Conversation([*row.prompt, *completion], row.tools)
            found.append(_Answer(whole, len(before), conversation, asked))
        return found

    def _encode_answers(self, pending: Sequence[Sequence[_Answer]]) -> list[tuple[Encoded, ...]]:
        encoded = iter(self._rendered.ids([answer.whole for answers in pending for answer in answers]))
        return [tuple(self._encode_answer(answer, *next(encoded)) for answer in answers) for answers in pending]

    def _encode_answer(self, answer: _Answer, ids_L: np.ndarray, offsets_L2: np.ndarray) -> Encoded:
        text = answer.whole.text
        answer_L = offsets_L2[:, 1] > answer.start
        if (ends := np.flatnonzero(self.is_end(ids_L) & answer_L)).size:
            # What the template writes behind the turn, such as a line end, is never asked of the model.
            last = int(ends[-1]) + 1
            ids_L, offsets_L2, answer_L = ids_L[:last], offsets_L2[:last], answer_L[:last]
        else:
            ids_L = np.append(ids_L, np.int32(self.end_ids[0]))
            offsets_L2 = np.vstack([offsets_L2, np.full((1, 2), len(text), np.int32)])
            answer_L = np.append(answer_L, True)
        starts = self._message_starts(answer.conversation, text, {len(answer.conversation.messages) - 1: answer.asked})
        return Encoded(ids_L, answer_L, _roles(starts, offsets_L2), offsets_L2, text)

    # ------------------------------------------------------------------ spans of characters

    def _spans(self, row: Conversation, train_on: TrainOn) -> _Spans:
        with _naming(row.source):
            whole = self._template.render(row.messages, row.tools)
            starts = self._message_starts(row, whole.text)
            if train_on == "all":
                return _Spans(whole, starts, [(0, len(whole.text))], [])
            if self.has_markers:
                spans, open_ended = list(whole.generated), []
            else:
                spans, open_ended = [], self._answer_starts(row, whole.text)
        if train_on == "completion":
            spans, open_ended = spans[-1:], open_ended[-1:]
        return _Spans(whole, starts, spans, open_ended)

    def _message_starts(self, row: Conversation, whole: str, known: Mapping[int, str] | None = None) -> list[int]:
        """Where each message begins, as far as the beginning of the conversation is written like the whole.

        `known`: number of messages -> how so many from the beginning are written.
        """
        starts = [0]
        for count in range(1, len(row.messages)):
            try:
                before = (known or {}).get(count) or self._template.render(row.messages[:count], row.tools).text
                start = len(before) if whole.startswith(before) else _common(before, whole)
            except WorkbenchError:  # such as a template that wants a question
                content = str(row.messages[count - 1].get("content") or "").strip()
                start = whole.find(content, starts[-1]) + len(content)
            starts.append(max(start, starts[-1]))
        return starts

    def _answer_starts(self, row: Conversation, whole: str) -> list[int]:
        """Where the answers begin: where the prompt for each, which has to stand in the whole alike, ends."""
        starts = []
        for count, message in enumerate(row.messages):
            if message.get("role") != "assistant" or not count:
                continue
            before = self._template.render(row.messages[:count], row.tools, add_generation_prompt=True).text
            if not whole.startswith(before):
                raise self._not_a_prefix(count)
            starts.append(len(before))
        return starts

    def _not_a_prefix(self, count: int) -> WorkbenchError:
        return WorkbenchError(
            f"The chat template {self._template.name} writes the first {count} message{'s' if count > 1 else ''} in "
            "another way once the answer follows, so it cannot be told where the answer begins.",
            "Put {% generation %} markers into the template around what the assistant writes.",
        )

    # ------------------------------------------------------------------ tokens

    def _encode(self, pending: Sequence[_Spans]) -> list[Encoded]:
        found = []
        for item, (ids_L, offsets_L2) in zip(
            pending, self._rendered.ids([item.whole for item in pending]), strict=True
        ):
            begins_L, ends_L = offsets_L2[:, 0], offsets_L2[:, 1]
            trained_L = np.zeros(len(ids_L), bool)
            is_end_L = self.is_end(ids_L)
            for start, stop in item.spans:
                # A token that the answer shares with what stands before it has to be written too.
                inside_L = (ends_L > start) & (begins_L < stop) & (ends_L > begins_L)
                trained_L |= inside_L
                after = int(np.flatnonzero(inside_L)[-1]) + 1 if inside_L.any() else len(ids_L)
                if after < len(ids_L) and is_end_L[after] and not is_end_L[after - 1]:
                    trained_L[after] = True
            for start in item.open_ended:
                # No message holds a special token: the next one that ends a turn ends this one.
                first = int(np.searchsorted(ends_L, start, side="right"))
                ends = np.flatnonzero(is_end_L[first:])
                trained_L[first : first + int(ends[0]) + 1 if len(ends) else len(ids_L)] = True
            trained_L[:1] = False
            found.append(Encoded(ids_L, trained_L, _roles(item.starts, offsets_L2), offsets_L2, item.whole.text))
        return found

    @cached_property
    def _adds_bos(self) -> bool:
        if self._says_add_bos is not None:
            return bool(self._says_add_bos)
        return self._tokenizer.encode("a", add_special_tokens=True).ids[:1] == [self.bos_id]

    @cached_property
    def _turn_end(self) -> int | None:
        """The special token that the template puts behind an answer."""
        probe = "xyzzy"
        try:
            rendering = self._template.render(
                [{"role": "user", "content": "a"}, {"role": "assistant", "content": probe}]
            )
        except WorkbenchError:
            return None
        ids_L, offsets_L2 = self._rendered.ids([rendering])[0]
        answered = rendering.text.rfind(probe) + len(probe)
        behind = ids_L[offsets_L2[:, 0] >= answered].tolist()
        return next((number for number in behind if number in self.special.values()), None)

    def _chatml(self, named: dict[str, str]) -> str:
        template = OUR_TEMPLATE.read_text(encoding="utf-8")
        if TURN_END in self.special and TURN_BEGIN in self.special:
            return template
        if named.get("eos_token") not in self.special:
            return template  # nothing of this tokenizer can end an answer: `end_ids` is empty
        return template.replace(f"'{TURN_END}'", "eos_token")


@dataclass(frozen=True, slots=True)
class _Spans:
    """One rendered conversation, in characters."""

    whole: Rendering
    starts: list[int]  # of its messages
    spans: list[tuple[int, int]]  # that are trained on
    open_ended: list[int]  # beginnings of spans that go to the turn's end


@dataclass(frozen=True, slots=True)
class _Answer:
    """One rendered prompt with an answer, which begins at character `start`."""

    whole: Rendering
    start: int
    conversation: Conversation
    asked: str  # the prompt alone


@contextmanager
def _naming(source: str) -> Iterator[None]:
    """Puts the row in front of an error about it."""
    try:
        yield
    except WorkbenchError as error:
        if not source:
            raise
        raise WorkbenchError(f"{source}: {error.what}", error.remedy) from None


def _roles(starts: Sequence[int], offsets_L2: np.ndarray) -> np.ndarray:
    """The message of each token, int16 [L], by its last character: it may begin with the line end before it."""
    last_L = np.maximum(offsets_L2[:, 1] - 1, 0)
    return (np.searchsorted(np.asarray(starts), last_L, side="right") - 1).astype(np.int16)


def _common(one: str, other: str) -> int:
    """Length of the beginning that both have."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((place for place, (first, second) in pairs if first != second), min(len(one), len(other)))
