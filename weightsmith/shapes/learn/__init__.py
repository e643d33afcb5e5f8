"""Learns family pages from transformers: builds models without data and watches which dimensions move.

torch and transformers are imported by `shapes.reference` alone, inside its functions.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from weightsmith.errors import EngineFailed, InvalidConfig
from weightsmith.guide import guide
from weightsmith.shapes.learn.page_question import PageAnswer, PageQuestion
from weightsmith.shapes.page.page import catalog_types, parse_page
from weightsmith.shapes.reference.child import ask
from weightsmith.shapes.reference.remote_code import own_code

if TYPE_CHECKING:
    from weightsmith.checkpoint.place import Place
    from weightsmith.json_value import JsonObject
    from weightsmith.shapes.page.page import Page

# A safety net: a child that learns counts its builds and ends by itself.
CHILD_SECONDS = 1800.0


def missing_page(
    model_type: str | None, config: JsonObject, folder: Place, *, trust_code: bool
) -> Page | None:
    """`infer-config --learn`: a page for the claimed family, None where the catalog has it.

    model_type: as the user names it; None takes the config's. trust_code: the classes that `auto_map` names in
    `folder` are learned, which runs that code. Raises InvalidConfig when nothing names a family, EngineFailed
    when it cannot be learned, HostileCheckpoint where code is trusted that is not in `folder`.
    """
    claimed = model_type or config.get("model_type")
    if not isinstance(claimed, str):
        raise InvalidConfig(
            folder, "names no model_type, so nothing can be learned", "name one with --model-type"
        )
    if claimed in catalog_types():
        return None
    auto_map = config.get("auto_map")
    own_classes = auto_map if isinstance(auto_map, dict) else None
    code = own_code(config, folder) if trust_code else None
    found = learn_page(claimed) if code is None else learn_page(claimed, Path(code), own_classes)
    if isinstance(found, str):
        way_out = f"see {guide('families.md')} for writing a page by hand"
        if own_classes is not None and not trust_code:
            way_out = "its code travels with the checkpoint: --trust-remote-code would run it"
        raise EngineFailed(claimed, f"no page could be learned ({found})", way_out)
    return found


def learn_page(model_type: str, code: Path | None = None, auto_map: JsonObject | None = None) -> Page | str:
    """The page of a type that the installed transformers knows, or the reason why there is none.

    Takes seconds to a few minutes, in a child process. code: a folder with the classes that `auto_map` names; they
    are run. Without it only transformers' own classes are built.
    """
    question = PageQuestion(model_type, None if code is None else str(code.resolve()), dict(auto_map or {}))
    document = ask("weightsmith.shapes.learn.worker", question.document(), CHILD_SECONDS)
    answer = PageAnswer.read(document)
    return answer.error if answer.page is None else parse_page(answer.page)
