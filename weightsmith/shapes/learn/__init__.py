"""Learns family pages from transformers: builds models without data and watches which dimensions move.

The only room of the shapes witness that needs torch and transformers; they are imported inside its functions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from weightsmith.shapes.page import Page


def learn_page(model_type: str, timeout: float = 300.0) -> Page | str:
    """The page of a type that the installed transformers knows, or the reason why there is none.

    Takes seconds to a few minutes. Code that travels with a checkpoint is never run: only transformers' own
    classes are built.
    """
    try:
        from weightsmith.shapes.learn import learner, reference

        reference.prepare()
    except ImportError as error:
        return f"learning a page needs torch and transformers ({error})"
    from weightsmith.shapes.page import parse_page

    try:
        outcome = learner.learn(model_type, timeout)
    except reference.Rejected as error:
        return str(error)
    except TimeoutError:
        return f"not learned within {timeout:.0f} s"
    return parse_page(outcome.page) if outcome.page else outcome.reason
