"""In the engine's child: the prompts with pictures, as the model's own processor makes them."""

from __future__ import annotations

from dataclasses import dataclass

from weightsmith.verify.inputs.pictures import NAMES, Pictured, processed, processor_of, prompt


@dataclass(frozen=True, slots=True)
class Album:
    """Questions about pictures. ids: the tokens of each, places of the picture among them. why_not: why none."""

    asked: tuple[Pictured, ...] = ()
    ids: tuple[tuple[int, ...], ...] = ()
    why_not: str = ""


def picture_prompts(model: str) -> Album:
    """A question about every picture, through the folder's own chat template and processor."""
    from jinja2 import TemplateError

    try:
        processor = processor_of(model)
        text = prompt(processor)
        asked = tuple(Pictured(name, text) for name in NAMES)
        made = tuple(tuple(processed(processor, one)["input_ids"][0].tolist()) for one in asked)
    except (TemplateError, ImportError, TypeError, ValueError, KeyError, OSError, AttributeError) as error:
        first = next(iter(str(error).strip().splitlines()), "")
        return Album(why_not=f"its processor fails: {type(error).__name__}: {first}")
    return Album(asked, made)
