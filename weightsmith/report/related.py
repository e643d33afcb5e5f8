"""What two checkpoints are to each other, in words: for the screen of `diff` and for its report."""

from __future__ import annotations

from typing import TYPE_CHECKING

from weightsmith.phrases import say

if TYPE_CHECKING:
    from weightsmith.documents import LineageEntry
    from weightsmith.phrases import Phrase

_RELATIONS = {
    "same": say("the same numbers"),
    "quantized": say("one is the other, rounded to a coarser grid"),
    "trained": say("the same weights, trained further or merged"),
    "rotated": say("the same neurons in another hidden space"),
    "permuted": say("the same neurons in other places"),
    "unrelated": say("unrelated: nothing speaks for an ancestor in common"),
    "not told": say("not told: no feed-forward blocks that could be compared"),
}


def lineage_sentence(told: LineageEntry) -> Phrase:
    """The relation, its direction where that is told, and the figures that tell it."""
    words = _RELATIONS[told["relation"]]
    if told["log10_p"] is None or told["correlation"] is None:
        return say("lineage: {relation}", relation=words)
    if told["towards"] is not None:
        words = say("{relation}, {towards}", relation=words, towards=told["towards"])
    return say(
        "lineage: {relation} (p = 1e{exponent}; norms of neurons correlate by {r} over {blocks} blocks)",
        relation=words,
        exponent=f"{told['log10_p']:.0f}",
        r=f"{told['correlation']:.2f}",
        blocks=told["blocks"],
    )
