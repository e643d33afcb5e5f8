"""Learns where a model of several parts has them: the table `page/inner_parts.json`.

A class with a `text_config` or a `vision_config` builds a model of its own from each. Some ask the automatic classes of
transformers for it, so that any type may stand there, others build one class. Which of the two it is, is watched while
the class is built; where the part's tensors are on disk is what they are saved as.
"""

from __future__ import annotations

import json
from collections import Counter
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING
from unittest.mock import patch

from weightsmith.process.durable import replace_file
from weightsmith.shapes.learn.memory_names import built, saved_kinds
from weightsmith.shapes.page.composition import PARTS, InnerPart
from weightsmith.shapes.page.page import page_document, parse_page
from weightsmith.shapes.reference.meta_models import Rejected, config_class

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from weightsmith.shapes.reference.untyped import Model


def learned(model_type: str) -> dict[str, InnerPart]:
    """Sub-config → the part that is built from it. Empty for a type of one part, and for one that is not built."""
    try:
        if not config_class(model_type).sub_configs:
            return {}
    except Rejected:
        return {}
    with _watched() as made:
        model = built(model_type)
    if model is None:
        return {}
    modules = dict(model.named_modules())
    page = parse_page(page_document(model_type))
    texts = [pattern.text for patterns in page.layouts.values() for pattern in patterns]
    found: dict[str, InnerPart] = {}
    for section in model.config.sub_configs:
        config = getattr(model.config, section, None)
        if config is not None:
            paths = [path for path, module in modules.items() if path and _is_built_from(module, config)]
            outermost = [p for p in paths if not any(p.startswith(f"{other}.") for other in paths)]
            prefix = _on_disk(model, outermost[0]) if len(outermost) == 1 else None
            if prefix is not None and config.model_type and any(t.startswith(prefix) for t in texts):
                by = next((name for module, name in made if module is modules[outermost[0]]), None)
                found[section] = InnerPart(config.model_type, prefix, by)
    return found


@contextmanager
def _watched() -> Iterator[list[tuple[object, str]]]:
    """(model, name of the automatic class that built it), for each that is built inside."""
    from transformers.models.auto import modeling_auto
    from transformers.models.auto.auto_factory import _BaseAutoModelClass

    made: list[tuple[object, str]] = []
    classes = [
        c for c in vars(modeling_auto).values() if isinstance(c, type) and issubclass(c, _BaseAutoModelClass)
    ]
    with ExitStack() as patches:
        for cls in classes:
            if "from_config" in vars(cls):
                watching = classmethod(_noting(made, vars(cls)["from_config"].__func__))
                patches.enter_context(patch.object(cls, "from_config", watching))
        yield made


def _noting(made: list[tuple[object, str]], original: Callable[..., object]) -> Callable[..., object]:
    def from_config(cls: type, *arguments: object, **options: object) -> object:
        model = original(cls, *arguments, **options)
        made.append((model, cls.__name__))
        return model

    return from_config


def _is_built_from(module: object, config: object) -> bool:
    from transformers import PreTrainedModel

    return isinstance(module, PreTrainedModel) and type(module.config) is type(config)


def _on_disk(model: Model, path: str) -> str | None:
    """What the names on disk of a module's tensors begin with; None where they share no beginning."""
    found: Counter[str] = Counter()
    for kind in saved_kinds(model):
        inner = kind.memory.removeprefix(f"{path}.")
        if inner != kind.memory:
            found.update(disk.removesuffix(inner) for disk in kind.stored if disk.endswith(inner))
    prefix = found.most_common(1)[0][0] if found else ""
    return prefix if prefix.endswith(".") else None


def write_table(found: Mapping[str, Mapping[str, InnerPart]]) -> None:
    """Writes the table anew. found: what was learned, by model type."""
    rows = ",\n".join(
        f"{json.dumps(t)}: {json.dumps({section: part.document() for section, part in found[t].items()})}"
        for t in sorted(found)
        if found[t]
    )
    replace_file(PARTS, ("{\n" + rows + "\n}\n").encode())
