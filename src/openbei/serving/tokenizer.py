"""Conversion of texts and token ids to sequences, with truncation, and back.

Several threads share one tokenizer, so truncation is never set in the library: complete encodings are truncated here.
"""

from collections.abc import Sequence as Items
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tokenizers
from numpy.typing import NDArray

from openbei.batch import Sequence
from openbei.engine_dir import EngineDir
from openbei.errors import InputError
from openbei.prompts import TextTemplate
from openbei.serving.library import Item, Library, Token, text_parts
from openbei.serving.pairs import PairTemplate
from openbei.serving.truncation import FIXED, Direction, Truncation, check_template_length, positions_to_keep, too_long
from openbei.tasks.tokens import TokenizedText

CHARACTERS_PER_TOKEN = 250
"""Text is first truncated to this many characters per token of the limit, as in TEI."""

MAX_LISTED_CHARACTERS = 1_000_000
"""Limit of the characters per call of `tokenize`."""

MAX_LISTED_TOKENS = 250_000
"""Limit of the tokens per call of `tokenize` and `decode`, which create an object for each."""


class Frame(NamedTuple):
    """The text before and after each text, and whether special tokens are added."""

    before: str
    after: str
    adds_special_tokens: bool = True


class Tokenizer:
    """The model's tokenizer, with its token limit. Truncation and padding settings in tokenizer.json are ignored.

    `direction` is the default side of truncation. `max_tokens` of a method lowers the limit. Methods raise InputError
    for an input without tokens, for half a surrogate pair, and with `truncate=False` for an input that is too long;
    `param` is the request's field in the message.
    """

    def __init__(
        self,
        path: Path,
        max_sequence_tokens: int,
        vocab_size: int,
        *,
        has_token_types: bool = True,
        unk_token_id: int | None = None,
        pools_prompts: bool = True,
        direction: Direction = "right",
        text_template: TextTemplate | None = None,
    ) -> None:
        self._library = Library(path)
        self.max_sequence_tokens = max_sequence_tokens
        self.vocab_size = vocab_size
        self._max_characters = CHARACTERS_PER_TOKEN * max_sequence_tokens
        self._has_token_types = has_token_types
        self._unk_token_id = unk_token_id
        self._pools_prompts = pools_prompts
        self._direction = direction
        self._text_template = text_template

    @classmethod
    def open(cls, engine_dir: EngineDir) -> "Tokenizer":
        """The tokenizer of an engine directory. Raises EngineDirError."""
        manifest = engine_dir.manifest
        return cls(
            engine_dir.tokenizer_path,
            manifest.max_sequence_tokens,
            manifest.spec.vocab_size,
            has_token_types=manifest.has_token_types,
            unk_token_id=manifest.unk_token_id,
            pools_prompts=manifest.prompts.are_pooled,
            direction=manifest.truncation_direction,
            text_template=manifest.text_template,
        )

    def encode(
        self,
        texts: list[str],
        *,
        truncate: bool = True,
        direction: Direction | None = None,
        max_tokens: int | None = None,
        prompt: str = "",
        param: str = "input",
    ) -> list[Sequence]:
        """Tokenize each text with `prompt` before it and special tokens, truncated to `max_sequence_tokens`.

        `num_tokens_given` is the length before truncation, of at most 250 · `max_sequence_tokens` characters. If the
        model excludes prompts from pooling, so do the sequences, unless they have no other tokens. The model's chat
        template, if any, is applied to text and prompt. Releases the GIL.
        """
        if template := self._text_template:
            frame = Frame(*template.prefix_and_suffix(prompt), adds_special_tokens=False)
            texts = [text.strip() for text in texts] if template.strips else texts
            return self._encode_framed(frame, texts, self._truncation(truncate, direction, max_tokens), param, param)
        num_excluded = 0 if self._pools_prompts else self._num_prompt_tokens(prompt, param)
        truncation = self._truncation(truncate, direction, max_tokens)
        return self._encode([prompt + text for text in texts], truncation, param, num_excluded)

    def encode_pairs(
        self,
        pairs: list[tuple[str, str]],
        *,
        truncate: bool = True,
        direction: Direction | None = None,
        max_tokens: int | None = None,
        param: str = "input",
    ) -> list[Sequence]:
        """Tokenize pairs of texts, joined by the tokenizer's post-processor, with token types.

        The longer text is truncated first. `num_tokens_given` is that of both texts, as in `encode`. A text that is the
        first of several pairs is tokenized once, if the post-processor allows it.
        """
        truncation = self._truncation(truncate, direction, max_tokens)
        template = self._library.pair_template
        return self._joined(template, pairs, truncation, param) if template else self._encode(pairs, truncation, param)

    def encode_framed(
        self,
        frame: Frame,
        texts: list[str],
        *,
        truncate: bool = True,
        direction: Direction | None = None,
        max_tokens: int | None = None,
        param: str = "texts",
        blames: str = "query",
    ) -> list[Sequence]:
        """Tokenize each text in its frame, as one text. Only tokens of the text are truncated, not those of the frame.

        Raises InputError for the field `blames` if the frame leaves no room for a text.
        """
        return self._encode_framed(frame, texts, self._truncation(truncate, direction, max_tokens), param, blames)

    def encode_texts_for_labels(
        self,
        texts: list[str],
        *,
        truncate: bool = True,
        direction: Direction | None = None,
        max_tokens: int | None = None,
        param: str = "inputs",
    ) -> list[TokenizedText]:
        """Tokenize texts as in `encode`, with the offsets of each token."""
        tokenized = []
        truncation = self._truncation(truncate, direction, max_tokens)
        read = [self._readable(text, truncation, f"{param}[{i}]") for i, text in enumerate(texts)]
        encodings = self._library.encodings(read, param, has_offsets=True)
        for i, (text, encoding) in enumerate(zip(texts, encodings, strict=True)):
            positions = self._cut(encoding, truncation, f"{param}[{i}]")
            num_skipped = len(text) - len(read[i]) if truncation.direction == "left" else 0
            tokenized.append(self._tokenized(text, num_skipped, encoding, positions))
        return tokenized

    def from_ids(
        self,
        ids: list[int],
        *,
        truncate: bool = True,
        direction: Direction | None = None,
        max_tokens: int | None = None,
        param: str = "input",
    ) -> Sequence:
        """A sequence of token ids. No special tokens are added; those at both ends are never truncated.

        Also raises InputError for an id outside the vocabulary.
        """
        truncation = self._truncation(truncate, direction, max_tokens)
        truncation.check(len(ids), param)
        self._check_ids(ids, param)
        token_ids = np.array(ids, np.int32)
        if len(ids) > truncation.limit:
            library, parts = self._library, np.zeros(len(ids), np.intp)
            for special, at in ((library.opening_ids, 0), (library.closing_ids, len(ids) - len(library.closing_ids))):
                if ids[at : at + len(special)] == special:
                    parts[at : at + len(special)] = FIXED
            token_ids = token_ids[positions_to_keep(parts, truncation.limit, truncation.direction)]
        return Sequence(token_ids, len(ids))

    def tokenize(
        self, texts: list[str], *, add_special_tokens: bool = True, prompt: str = "", param: str = "inputs"
    ) -> list[list[Token]]:
        """The tokens of each text with `prompt` before it, without truncation. Offsets include the prompt.

        Raises InputError if all texts have more than MAX_LISTED_CHARACTERS or MAX_LISTED_TOKENS.
        """
        whole = [prompt + text for text in texts]
        if (num_characters := sum(map(len, whole))) > MAX_LISTED_CHARACTERS:
            raise too_long(param, num_characters, "characters", MAX_LISTED_CHARACTERS, hint="send it in parts")
        encodings = self._library.encodings(whole, param, has_offsets=True, add_special_tokens=add_special_tokens)
        tokens, num_tokens = [], 0
        for text, encoding in zip(whole, encodings, strict=True):
            num_tokens += len(encoding)
            if num_tokens > MAX_LISTED_TOKENS:
                raise too_long(param, num_tokens, "tokens and more", MAX_LISTED_TOKENS, hint="send it in parts")
            tokens.append(self._library.listed(text, encoding))
        return tokens

    def decode(self, ids: list[list[int]], *, skip_special_tokens: bool = True, param: str = "ids") -> list[str]:
        """Decode token ids. Raises InputError for an id outside the vocabulary, or more than MAX_LISTED_TOKENS."""
        if (num_tokens := sum(map(len, ids))) > MAX_LISTED_TOKENS:
            raise too_long(param, num_tokens, "token ids", MAX_LISTED_TOKENS, hint="send it in parts")
        for i, row in enumerate(ids):
            self._check_ids(row, f"{param}[{i}]")
        return self._library.decode(ids, skip_special_tokens=skip_special_tokens)

    def cut_text(self, text: str, max_tokens: int) -> str:
        """Truncate a text after `max_tokens` tokens, not counting special tokens."""
        read = text[: self._max_characters]
        [encoding] = self._library.encodings([read], "input", has_offsets=True, add_special_tokens=False)
        return text if len(encoding) <= max_tokens else read[: encoding.offsets[max_tokens - 1][1]]

    def _num_prompt_tokens(self, prompt: str, param: str) -> int:
        """The number of tokens of a prompt, without a special token at the end, as in sentence-transformers."""
        if not prompt:
            return 0
        [encoding] = self._library.encodings(
            [self._readable(prompt, self._truncation(True, "right", None), param)], param
        )
        return len(encoding) - (encoding.ids[-1:] != [] and encoding.ids[-1] in self._library.special_ids)

    def _encode_framed(
        self, frame: Frame, texts: list[str], truncation: Truncation, param: str, blames: str
    ) -> list[Sequence]:
        before, after, adds_special_tokens = frame
        check_template_length(blames, len(before) + len(after), "characters", self._max_characters)
        sequences = []
        read = [self._readable(text, truncation, f"{param}[{i}]") for i, text in enumerate(texts)]
        encodings = self._library.encodings(
            [before + text + after for text in read], param, has_offsets=True, add_special_tokens=adds_special_tokens
        )
        for i, (text, encoding) in enumerate(zip(read, encodings, strict=True)):
            parts = None
            if len(encoding) > truncation.limit:
                parts = text_parts(encoding, len(before), len(before) + len(text))
                check_template_length(blames, int((parts == FIXED).sum()), "tokens", truncation.limit - 1)
            positions = self._cut(encoding, truncation, f"{param}[{i}]", parts)
            sequences.append(self._sequence(encoding, positions))
        return sequences

    def _truncation(self, truncate: bool, direction: Direction | None, max_tokens: int | None) -> Truncation:
        limit = min(max_tokens or self.max_sequence_tokens, self.max_sequence_tokens)
        return Truncation(truncate, direction or self._direction, limit)

    def _encode(self, items: Items[Item], truncation: Truncation, param: str, num_excluded: int = 0) -> list[Sequence]:
        read: list[Item] = []
        for i, item in enumerate(items):
            at = f"{param}[{i}]"
            if isinstance(item, str):
                read.append(self._readable(item, truncation, at))
            else:
                first, second = item
                read.append((self._readable(first, truncation, at), self._readable(second, truncation, at)))
        sequences = []
        for i, encoding in enumerate(self._library.encodings(read, param)):
            positions = self._cut(encoding, truncation, f"{param}[{i}]")
            lost_prompt = truncation.direction == "left" and read[i] != items[i]
            sequences.append(self._sequence(encoding, positions, 0 if lost_prompt else num_excluded))
        return sequences

    def _joined(
        self, template: PairTemplate, pairs: list[tuple[str, str]], truncation: Truncation, param: str
    ) -> list[Sequence]:
        index_of: dict[str, int] = {}
        for i, (first, _) in enumerate(pairs):
            index_of.setdefault(first, i)
        firsts = [self._readable(first, truncation, f"{param}[{i}]") for first, i in index_of.items()]
        seconds = [self._readable(second, truncation, f"{param}[{i}]") for i, (_, second) in enumerate(pairs)]
        ids_of = dict(zip(index_of, self._library.ids(firsts, param, [*index_of.values()]), strict=True))
        sequences = []
        for i, second_ids in enumerate(self._library.ids(seconds, param)):
            tokens, num_tokens = template.join(ids_of[pairs[i][0]], second_ids, truncation, f"{param}[{i}]")
            has_types = self._has_token_types and tokens.types.any()
            sequences.append(Sequence(tokens.ids, num_tokens, tokens.types if has_types else None))
        return sequences

    def _readable(self, text: str, truncation: Truncation, param: str) -> str:
        """Truncate a text to the limit of characters. Raises InputError."""
        if len(text) <= self._max_characters:
            return text
        if not truncation.truncate:
            raise too_long(param, len(text), "characters", self._max_characters)
        return text[-self._max_characters :] if truncation.direction == "left" else text[: self._max_characters]

    def _cut(
        self, encoding: tokenizers.Encoding, truncation: Truncation, param: str, parts: NDArray[np.intp] | None = None
    ) -> NDArray[np.intp] | None:
        """The positions to keep, or None for all. `parts` is that of `positions_to_keep`, by default of texts."""
        truncation.check(len(encoding), param)
        if len(encoding) <= truncation.limit:
            return None
        if parts is None:
            parts = np.array([FIXED if text is None else text for text in encoding.sequence_ids], np.intp)
        return positions_to_keep(parts, truncation.limit, truncation.direction)

    def _sequence(
        self, encoding: tokenizers.Encoding, positions: NDArray[np.intp] | None, num_excluded: int = 0
    ) -> Sequence:
        token_ids = np.array(encoding.ids, np.int32)
        # The build checks that a single text has only zeros.
        has_types = self._has_token_types and encoding.n_sequences > 1
        type_ids = np.array(encoding.type_ids, np.int32) if has_types else None
        if positions is not None:
            token_ids = token_ids[positions]
            type_ids = None if type_ids is None else type_ids[positions]
            num_excluded = int((positions < num_excluded).sum())
        return Sequence(
            token_ids,
            len(encoding),
            type_ids if type_ids is not None and type_ids.any() else None,
            num_excluded if num_excluded < len(token_ids) else 0,
        )

    def _tokenized(
        self, text: str, num_skipped: int, encoding: tokenizers.Encoding, positions: NDArray[np.intp] | None
    ) -> TokenizedText:
        sequence = self._sequence(encoding, positions)
        chosen = range(len(encoding)) if positions is None else positions.tolist()
        special, offsets = encoding.special_tokens_mask, encoding.offsets
        return TokenizedText(
            text=text,
            sequence=sequence,
            tokens=[self._library.token(token_id) for token_id in sequence.token_ids.tolist()],
            offsets=[
                (0, 0) if special[i] else (offsets[i][0] + num_skipped, offsets[i][1] + num_skipped) for i in chosen
            ],
            is_special=[bool(special[i]) for i in chosen],
            marks_subwords=self._library.marks_subwords,
            unk_token_id=self._unk_token_id,
        )

    def _check_ids(self, ids: list[int], param: str) -> None:
        if ids and not (min(ids) >= 0 and max(ids) < self.vocab_size):
            index = next(i for i, token_id in enumerate(ids) if not 0 <= token_id < self.vocab_size)
            param = f"{param}[{index}]"
            raise InputError(f"{param} is {ids[index]}, token ids are 0 to {self.vocab_size - 1}", param=param)
