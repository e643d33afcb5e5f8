"""Whether the learner still makes the pages that are committed: eight types, byte for byte."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, cast

from weightsmith.shapes.learn.catalog_run import learned_in_parallel
from weightsmith.shapes.learn.write.inclusions import with_inclusions
from weightsmith.shapes.page.page import page_text, part_types
from weightsmith.shapes.page.page_file import text_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from weightsmith.shapes.learn.task import LearnedType
    from weightsmith.shapes.page.page_file import PageDocument

# Quick ones, each of another kind: dense, with a setting that no class declares, with experts, a state space, an
# encoder, an encoder with a decoder, one with an inner config for images, and a hybrid that is expressed in part.
CHECKED = ("llama", "qwen2", "mixtral", "mamba", "bert", "mbart", "qwen2_vl", "zamba2")
_SHOWN = 40


def check_catalog(types: Sequence[str], processes: int, say: Callable[[str], None]) -> int:
    """Learns the types anew and compares them with the catalog. Returns the exit code: 1 where one differs.

    say: what is told, line by line.
    """
    differing = 0
    for found in learned_in_parallel(types, processes):
        lines = difference(found)
        differing += bool(lines)
        say(f"{found.model_type} {found.seconds:.1f}s {'differs' if lines else 'as in the catalog'}")
        for line in lines[:_SHOWN]:
            say(f"  {line}")
    say(f"{len(types) - differing} of {len(types)} pages are what the learner makes")
    return 1 if differing else 0


def difference(found: LearnedType) -> list[str]:
    """Lines of a diff from the page of the catalog to the one that was learned, or why none was learned."""
    if found.page is None:
        return [found.reason]
    learned = with_inclusions(cast("PageDocument", found.page), part_types())
    pages = page_text(found.model_type), text_of(learned)
    before, after = (page.splitlines() for page in pages)
    told = difflib.unified_diff(before, after, "in the catalog", "learned", n=0, lineterm="")
    return list(told) if pages[0] != pages[1] else []
