"""Learns family pages from transformers: builds models without data and watches which dimensions move.

The only room of the shapes witness that needs torch and transformers; they are imported inside its functions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from weightsmith.errors import EngineFailed, InvalidConfig
from weightsmith.shapes.page.page import catalog_types, parse_page
from weightsmith.shapes.reference.child import ask

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from weightsmith.json_value import JsonObject
    from weightsmith.shapes.page.page import Page

# Of computing; the child gets twice that of wall time before it is given up.
SECONDS = 300.0


def missing_page(
    model_type: str | None, config: Mapping[str, Any], folder: Path, *, trust_code: bool
) -> Page | None:
    """`infer-config --learn`: a page for the claimed family, None where the catalog has it.

    model_type: as the user names it; None takes the config's. trust_code: the classes that `auto_map` names in
    `folder` are learned, which runs that code. Raises InvalidConfig when nothing names a family, EngineFailed
    when it cannot be learned.
    """
    claimed = model_type or config.get("model_type")
    if not isinstance(claimed, str):
        raise InvalidConfig(
            folder, "names no model_type, so nothing can be learned", "name one with --model-type"
        )
    if claimed in catalog_types():
        return None
    auto_map = config.get("auto_map")
    own_code = isinstance(auto_map, dict) and trust_code
    found = learn_page(claimed, SECONDS, folder if own_code else None, auto_map if own_code else None)
    if isinstance(found, str):
        way_out = "see docs/families.md for writing a page by hand"
        if isinstance(auto_map, dict) and not trust_code:
            way_out = "its code travels with the checkpoint: --trust-remote-code would run it"
        raise EngineFailed(claimed, f"no page could be learned ({found})", way_out)
    return found


def learn_page(
    model_type: str,
    seconds: float = SECONDS,
    code: Path | None = None,
    auto_map: Mapping[str, Any] | None = None,
) -> Page | str:
    """The page of a type that the installed transformers knows, or the reason why there is none.

    Takes seconds to a few minutes, in a child process. code: a folder with the classes that `auto_map` names; they
    are run. Without it only transformers' own classes are built.
    """
    question: JsonObject = {
        "model_type": model_type,
        "seconds": seconds,
        "code": None if code is None else str(code.resolve()),
        "auto_map": dict(auto_map or {}),
    }
    answer = ask("weightsmith.shapes.learn.worker", question, 2 * seconds + 60)
    page = answer.get("page")
    return parse_page(page) if isinstance(page, dict) else str(answer.get("error", "gave no answer"))
