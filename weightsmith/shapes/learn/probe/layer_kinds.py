"""Which kinds of layers a class builds: those of its default config, and others that transformers has a word for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from weightsmith.shapes.learn.probe.probe import Probe
from weightsmith.shapes.learn.probe.trial_values import words_of
from weightsmith.shapes.reference.layer_words import layer_words

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from weightsmith.shapes.learn.probe.builder import Lab
    from weightsmith.shapes.learn.probe.probe import BuildObservation

_KIND = "all layers of one kind"


def layer_kinds(
    lab: Lab, base: BuildObservation, words: Mapping[str, Sequence[str]]
) -> dict[str, tuple[str, ...]]:
    """Dotted name → the words that its items may be, for each list of kinds of layers in the base; its own first.

    words: per field, the strings that the implementation compares it with. Of these, only words for layers are kept.
    Such a word that no line of the source has counts, too, where layers of its kind have a tensor that those of no kind
    before it have. A layer that only lacks tensors was left empty by a class that does not know the word.
    """
    found: dict[str, tuple[str, ...]] = {}
    for name, value in base.values.items():
        items = value if isinstance(value, tuple) else ()
        own = tuple(dict.fromkeys(item for item in items if isinstance(item, str)))
        if own and set(items) <= set(layer_words()):
            said = [word for word in words_of(words, name) if word in layer_words()]
            found[name] = _with_others(lab, name, len(items), tuple(dict.fromkeys((*own, *said))))
    return found


def _with_others(lab: Lab, name: str, length: int, known: tuple[str, ...]) -> tuple[str, ...]:
    """`known`, and each further word of which a whole model has a tensor that no model of one kind has had so far."""
    all_of = {word: Probe({name: (word,) * length}, _KIND) for word in (*known, *layer_words())}
    tensors = {t for word in known if (built := lab.built(all_of[word])) for t in _tensors(built)}
    fresh = []
    for word in layer_words():
        # Most config classes refuse words, which saves building a model.
        if word in known or lab.values(all_of[word]) is None:
            continue
        built = lab.built(all_of[word])
        if built is not None and not _tensors(built) <= tensors:
            tensors |= _tensors(built)
            fresh.append(word)
    return (*known, *fresh)


def _tensors(built: BuildObservation) -> set[tuple[str, tuple[int, ...]]]:
    return {item for table in built.tables.values() for item in table.items()}
