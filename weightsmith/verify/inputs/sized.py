"""Prompts made to the size of an engine, so that its blocks, its chunks and its cache really come into play."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

# A reference replays every prompt on the CPU: beyond this a model of a billion parameters takes minutes for each.
LONGEST = 2048
# More than there are sizes: the same prompt is made for every engine that it fits.
_STARTS = 8
# So few before a block's end that any answer passes it.
_BEFORE_END = 2
# Beside a prompt past two blocks there are others that share some of them.
_PAST_TWO = 3


@dataclass(frozen=True, slots=True)
class Size:
    """A prompt that is to be made. tokens: how many, special ones included. why: what it makes the engine do."""

    tokens: int
    why: str


def sizes(
    block: int, chunk: int | None, room: int, *, at_the_limit: bool = True
) -> tuple[tuple[Size, ...], dict[str, str]]:
    """The prompts to make, and why others cannot be, by what they would have made the engine do.

    block: tokens of a KV block. chunk: the most that are prefilled at once, None where prompts go in whole.
    room: for a prompt, in tokens, beside its answer. at_the_limit: whether a prompt that fills it says something.
    """
    wanted = [
        Size(max(1, block - _BEFORE_END), f"answered across the end of a KV block of {block}"),
        Size(block + block // 2, f"past one KV block of {block}"),
        Size(2 * block + _PAST_TWO, f"past two KV blocks of {block}"),
    ]
    if chunk is not None:
        wanted += [
            Size(chunk + block // 2, f"past a chunk of {chunk}"),
            # Asked alone, its last token is a chunk of its own, behind the last one of the first chunk.
            Size(chunk + 1, f"a token past a chunk of {chunk}"),
        ]
    if at_the_limit:
        wanted.append(Size(room, "as long as the engine takes"))
    made: list[Size] = []
    left_out: dict[str, str] = {}
    for size in wanted:
        if size.tokens > LONGEST:
            left_out[size.why] = f"{size.tokens:,} tokens are more than a reference replays ({LONGEST:,})"
        elif size.tokens > room:
            left_out[size.why] = f"the engine takes {room:,} tokens and an answer"
        elif size.tokens not in {one.tokens for one in made}:
            made.append(size)
    return tuple(made), left_out


def make(
    made: Sequence[Size], text: Sequence[int], before: Sequence[int] = (), after: Sequence[int] = ()
) -> tuple[tuple[int, ...], ...]:
    """Token ids of each prompt, cut from one text that begins somewhere else for each, so that none is another's start.

    text: token ids without special ones, repeated where it is too short. before, after: special tokens around it.
    """
    prompts = []
    for n, size in enumerate(made):
        length = max(1, size.tokens - len(before) - len(after))
        start = (n * len(text) // _STARTS) % len(text)
        whole = [*text[start:], *text[:start]]
        body = (whole * -(-length // len(whole)))[:length]
        prompts.append((*before, *body, *after))
    return tuple(prompts)


def twins(
    made: Sequence[Size],
    block: int,
    text: Sequence[int],
    before: Sequence[int] = (),
    after: Sequence[int] = (),
) -> dict[str, tuple[int, ...]]:
    """Prompts that share blocks with the one past two blocks, by why: a prefix cache must tell them from it.

    One has its first block and behind that another prompt's second, which the cache holds behind other tokens; one has
    half of its first block. Where no other prompt is as long, one is made. Empty where the one past two blocks was not
    made, or where the text is all one.
    """
    wanted = Size(2 * block + _PAST_TWO, "as long, of other text")
    *prompts, spare = make((*made, wanted), text, before, after)
    first = next((ids for ids in prompts if len(ids) == wanted.tokens), None)
    if first is None:
        return {}
    longer = next((ids for ids in prompts if len(ids) > wanted.tokens), None)
    other, half, end = spare if longer is None else longer, block // 2, first[2 * block :]
    found = {
        **({wanted.why: spare} if longer is None else {}),
        "its first block, then another's second": (
            *first[:block],
            *other[block : len(first) - len(after)],
            *after,
        ),
        "its first block with another's second half": (*first[:half], *other[half:block], *end),
    }
    return found if other[: 2 * block] != first[: 2 * block] else {}
