"""Pictures drawn by code, the same on every machine, and the question that a model is asked of each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from weightsmith.records import Record

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Image
    from transformers import ProcessorMixin
    from transformers.feature_extraction_utils import BatchFeature

    from weightsmith.json_value import JsonObject

QUESTION = "What is in this picture?"
# Not square, so that width and height cannot be taken for each other.
_HEIGHT, _WIDTH = 192, 256
_RED, _BLUE, _GREEN, _WHITE, _BLACK = (220, 30, 30), (30, 60, 220), (30, 160, 60), (255, 255, 255), (0, 0, 0)

# One colour, one shape on another, a pattern in each direction, and no pattern at all: what differs is told in words.
NAMES = (
    "a red field",
    "a blue disc on white",
    "black and white stripes, upright",
    "black and white stripes, lying",
    "a green square at the left",
    "a green square at the right",
)


@dataclass(frozen=True, slots=True)
class Pictured(Record):
    """A question about a picture. name: of the picture. text: the prompt as the model's chat template makes it."""

    name: str
    text: str


def sees(config: JsonObject) -> bool:
    """Whether a model takes pictures."""
    return isinstance(config.get("vision_config"), dict)


def other(name: str) -> str:
    """Another picture of the same size: the one that a control shows in place of this one."""
    return NAMES[(NAMES.index(name) + 1) % len(NAMES)]


def draw(name: str) -> Image:
    """The picture of a name, RGB. Raises KeyError for a name that there is not."""
    from PIL import Image

    return Image.fromarray(_pixels(name), "RGB")


def _pixels(name: str) -> NDArray[np.uint8]:
    """Bytes [height, width, 3]."""
    import numpy as np

    y, x = np.mgrid[0:_HEIGHT, 0:_WIDTH]
    middle = _HEIGHT // 2
    inside, colours = {
        "a red field": (x >= 0, (_RED, _RED)),
        "a blue disc on white": ((x - _WIDTH // 2) ** 2 + (y - middle) ** 2 < 60**2, (_BLUE, _WHITE)),
        "black and white stripes, upright": (x // 16 % 2 == 0, (_BLACK, _WHITE)),
        "black and white stripes, lying": (y // 16 % 2 == 0, (_BLACK, _WHITE)),
        "a green square at the left": (_square(x, y, 20), (_GREEN, _WHITE)),
        "a green square at the right": (_square(x, y, _WIDTH - 116), (_GREEN, _WHITE)),
    }[name]
    first, second = (np.array(colour, dtype=np.uint8) for colour in colours)
    return np.where(inside[..., None], first, second)


def _square(x: NDArray[np.int64], y: NDArray[np.int64], left: int) -> NDArray[np.bool_]:
    return (x >= left) & (x < left + 96) & (y >= 48) & (y < 144)


def prompt(processor: ProcessorMixin) -> str:
    """The question as a person asks it: through the model's chat template, with a place for the picture.

    Raises what the template raises.
    """
    said = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": QUESTION}]}]
    return str(processor.apply_chat_template(said, add_generation_prompt=True, tokenize=False))


def processed(processor: ProcessorMixin, asked: Pictured) -> BatchFeature:
    """Token ids [1, tokens], with a place for each part of the picture, and the pixels as the model takes them."""
    return processor(text=[asked.text], images=[draw(asked.name)], return_tensors="pt")


def processor_of(model: str) -> ProcessorMixin:
    """The folder's own. Raises what transformers raises where it has none, or where a package is missing."""
    from transformers import AutoProcessor

    return AutoProcessor.from_pretrained(model, local_files_only=True, trust_remote_code=False)
