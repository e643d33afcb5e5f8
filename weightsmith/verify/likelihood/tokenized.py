"""In the likelihood's child: texts as the tokens of a model."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from weightsmith.verify.reference.controls import NoReference

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from weightsmith.verify.inputs.kinds import Kind
    from weightsmith.verify.likelihood.texts import Text

_FAST = "tokenizer.json"


@dataclass(frozen=True, slots=True)
class Reading:
    """A text that a model reads. lead: what the tokenizer puts before it. given: how many tokens are not asked.

    size: of the text in bytes of UTF-8.
    """

    lead: tuple[int, ...]
    ids: tuple[int, ...]
    given: int
    size: int = 0

    @property
    def asked(self) -> int:
        """How many of its tokens are."""
        return len(self.ids) - self.given

    def begun(self, tokens: int) -> Reading:
        """The text up to so many tokens that are asked."""
        return replace(self, ids=self.ids[: self.given + max(tokens, 0)])

    def shifted(self, by: int, vocabulary: int) -> Reading:
        """The text with a number added to each id, and beginning anew beyond the last id that there is."""
        lead, ids = (tuple((one + by) % vocabulary for one in each) for each in (self.lead, self.ids))
        return replace(self, lead=lead, ids=ids)


def tokenized(
    place: Path, texts: Mapping[str, Text], kind: Kind, positions: int | None = None
) -> dict[str, Reading]:
    """Each text, except those of which nothing would be asked.

    place: a folder that has a tokenizer, or a file in one; a GGUF file has its own where none is beside it. kind: one
    that reads a prompt is given half of a text where nothing else is, within its template. positions: how many the
    model has; a text is cut to them, with one left for what may begin it. Raises NoReference where there is no
    tokenizer that loads.
    """
    try:
        tokenizer = _tokenizer(place)
        found = {name: _reading(tokenizer, text, kind) for name, text in texts.items()}
    except Exception as error:  # a tokenizer may be damaged in any way
        reason = "".join(str(error).splitlines()[:1])
        raise NoReference(f"no tokenizer loads ({type(error).__name__}: {reason})") from error
    if positions is not None:
        found = {name: one.begun(positions - 1 - len(one.lead) - one.given) for name, one in found.items()}
    return {name: one for name, one in found.items() if one.given < len(one.ids)}


@dataclass(frozen=True, slots=True)
class _Tokenizer:
    """encode: text, and whether special tokens are added, → ids. number: a token → its id, None where there is none."""

    encode: Callable[[str, bool], tuple[int, ...]]
    number: Callable[[str], int | None]

    def numbers(self, tokens: Sequence[str]) -> tuple[int, ...]:
        """Of those that there are."""
        found = map(self.number, tokens)
        return tuple(one for one in found if one is not None)


def _tokenizer(place: Path) -> _Tokenizer:
    """The fast tokenizer's file says all; others need their class."""
    folder = place if place.is_dir() else place.parent
    if (folder / _FAST).is_file():
        from tokenizers import Tokenizer

        fast = Tokenizer.from_file(str(folder / _FAST))
        fast.no_truncation()
        return _Tokenizer(
            lambda text, special: tuple(fast.encode(text, add_special_tokens=special).ids), fast.token_to_id
        )
    from transformers import AutoTokenizer

    own = {"gguf_file": place.name} if place.suffix == ".gguf" else {}
    slow = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False, **own)
    return _Tokenizer(
        lambda text, special: tuple(slow(text, add_special_tokens=special).input_ids), slow.get_vocab().get
    )


def _reading(tokenizer: _Tokenizer, text: Text, kind: Kind) -> Reading:
    alone, given = tokenizer.encode(text.given + text.text, False), tokenizer.encode(text.given, False)
    size = len((text.given + text.text).encode())
    if kind.mask == "prefix":
        before, after = map(tokenizer.numbers, (kind.template.before, kind.template.after))
        at = len(given) or len(alone) // 2
        return Reading((), (*before, *alone[:at], *after, *alone[at:]), at + len(before) + len(after), size)
    whole = tokenizer.encode(text.given + text.text, True)
    starts = (n for n in range(len(whole) - len(alone) + 1) if whole[n : n + len(alone)] == alone)
    return Reading(whole[: next(starts, 0)], alone, max(len(given), 1), size)
