"""What the side files say against the weights and each other: vocabulary, special ids, dtype, ties, list lengths."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from weightsmith.checkpoint import Problem
from weightsmith.checkpoint.config_file import CONFIG
from weightsmith.checkpoint.dtypes import TORCH_NAMES
from weightsmith.shapes.beside.end_token import end_token
from weightsmith.shapes.beside.json_files import optional_json
from weightsmith.shapes.beside.lint import ROPE_FACTORS, lint
from weightsmith.shapes.beside.tokenizer_file import TOKENIZER, largest_token_id, read_tokenizer
from weightsmith.shapes.family.other_names import canonical
from weightsmith.shapes.given.config import Stated, lookup
from weightsmith.shapes.given.file_words import said_otherwise

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from weightsmith.checkpoint import Checkpoint
    from weightsmith.json_value import JsonObject
    from weightsmith.shapes.solve.fit import Fit

_SPECIAL_IDS = ("bos_token_id", "eos_token_id", "pad_token_id", "unk_token_id", "decoder_start_token_id")
_LISTED = 3
_LAYER = re.compile(r"([^0-9]*[^0-9.])\.([0-9]{1,9})\.")


def crosscheck(
    checkpoint: Checkpoint,
    config: JsonObject | None,
    chosen: Fit,
    corrected: JsonObject,
) -> list[Problem]:
    """Problems that the shapes alone do not decide. Reads small side files of the checkpoint's folder.

    config: the file as it is. corrected: what would be written.
    """
    problems = [*_tensors(checkpoint, chosen), *_head(chosen)]
    problems += _lists(config, chosen, corrected)
    problems += _rules(chosen)
    problems += _dtype(checkpoint, config)
    root = checkpoint.root
    generation, unread = optional_json(root / "generation_config.json")
    tokenizer, unread_too = optional_json(root / "tokenizer_config.json")
    words, unread_as_well = read_tokenizer(root / TOKENIZER)
    problems += [*unread, *unread_too, *unread_as_well]
    problems += lint(config, generation, root, chosen.solution.values)
    problems += end_token(config or {}, generation, tokenizer, words)
    vocabulary = _vocabulary(chosen)
    if vocabulary is not None:
        problems += _special_ids(CONFIG, config or {}, vocabulary)
        problems += _special_ids("generation_config.json", generation, vocabulary)
        problems += _tokenizer(words, vocabulary)
    return problems


def _vocabulary(chosen: Fit) -> int | None:
    """Rows of the text embedding; the field's name and place differ between families."""
    values = chosen.solution.values
    found = (values.get(name) for name in ("vocab_size", "text_config.vocab_size", "padded_vocab_size"))
    return next((size for size in found if isinstance(size, int)), None)


def _tensors(checkpoint: Checkpoint, chosen: Fit) -> Iterator[Problem]:
    if chosen.missing:
        yield missing_tensors(chosen.missing)
    if chosen.unmatched:
        family = chosen.page.model_type
        yield Problem(
            "unmatched-tensors", f"{_some(chosen.unmatched)}: {family} has no such tensors with this config"
        )
    empty = tuple(name for name, tensor in checkpoint.tensors.items() if 0 in tensor.shape)
    if empty:
        yield Problem(
            "empty-tensors", f"{_some(empty)}: no elements (ZeRO-3 leaves these when saved unsharded)"
        )


def missing_tensors(names: tuple[str, ...], demanded: str = "the config demands them") -> Problem:
    """The problem of tensors that are not in the files. demanded: what tells of them."""
    message = f"{_some(names)}{_layers(names)}: {demanded}, the files lack them"
    return Problem("missing-tensors", message, stops_loader=True)


def _head(chosen: Fit) -> Iterator[Problem]:
    """What lies beside the body of a model, where that was saved alone: an engine that generates needs it."""
    absent = chosen.absent_head
    if absent and chosen.spelling is not None:
        stem = chosen.spelling.stem
        classes = " or ".join(chosen.architectures)
        yield Problem(
            "missing-tensors",
            f"{_some(absent)}: absent; only the body of {classes} is stored, under names without {stem!r}",
        )


def _lists(config: JsonObject | None, chosen: Fit, corrected: JsonObject) -> Iterator[Problem]:
    """Lists of another length than the weights demand; a loader stops where the corrected config still has them so.

    Of a list that the class makes of another setting, that one is told of.
    """
    values, stated = chosen.solution.values, chosen.stated
    after = Stated(canonical(corrected, stated.page), stated.page)
    left = {name for name, actual, expected in after.list_lengths(values) if actual != expected}
    for name, actual, expected in stated.list_lengths(values):
        made = not lookup(config, name)[0] and said_otherwise(config, stated.page, name)
        if actual != expected and not made and not name.endswith(ROPE_FACTORS):
            message = f"{name} has {actual} entries where the weights demand {expected}"
            yield Problem("list-length", message, stops_loader=name in left, file=CONFIG)


def _rules(chosen: Fit) -> Iterator[Problem]:
    """Rules of the class that the file breaks, where no shape decides: 13 heads for 768 channels.

    What the weights alone decide is a model that exists, whatever a rule says.
    """
    values, options, stated = chosen.solution.values, chosen.solution.options, chosen.stated
    for rule in stated.page.rules if chosen.explains else ():
        said = [name for name in sorted(rule.names) if stated.has(name) and len(options.get(name, ())) != 1]
        if said and rule.truth(values) is False:
            named = ", ".join(f"{name} {values.get(name)}" for name in said)
            yield Problem("rule", f"{named}: the class demands {rule.text}", stops_loader=True, file=CONFIG)


def _dtype(checkpoint: Checkpoint, config: JsonObject | None) -> Iterator[Problem]:
    stored = main_dtype(checkpoint)
    stated = (config or {}).get("torch_dtype") or (config or {}).get("dtype")
    if stored and isinstance(stated, str) and stated.removeprefix("torch.") not in (stored, "auto"):
        yield Problem("dtype", f"the config says {stated}, most parameters are {stored}", file=CONFIG)


_FLOATS = ("BF16", "F16", "F32", "F64")


def main_dtype(checkpoint: Checkpoint) -> str | None:
    """torch's name for the floating dtype that most parameters have."""
    return next((TORCH_NAMES[dtype] for dtype in checkpoint.dtypes() if dtype in _FLOATS), None)


def _special_ids(file: str, config: JsonObject, vocabulary: int) -> Iterator[Problem]:
    for key in _SPECIAL_IDS:
        stated = config.get(key)
        for number in stated if isinstance(stated, list) else [stated]:
            if isinstance(number, int) and not -1 <= number < vocabulary:
                text = f"{file}: {key} {number} is outside the vocabulary of {vocabulary}"
                yield Problem("special-id", text, file=file)


def _tokenizer(words: bytes, vocabulary: int) -> Iterator[Problem]:
    largest = largest_token_id(words)
    if largest is not None and largest >= vocabulary:
        text = f"{TOKENIZER} has token id {largest}, the embedding has {vocabulary} rows"
        yield Problem("tokenizer-vocabulary", text, file=TOKENIZER)


def _layers(names: tuple[str, ...]) -> str:
    """Which layers many tensors lie in: ` (in model.layers 9 to 19, 25)`."""
    numbers: dict[str, set[int]] = {}
    for found in filter(None, map(_LAYER.match, names)):
        numbers.setdefault(found[1], set()).add(int(found[2]))
    if len(names) <= _LISTED or not numbers:
        return ""
    return f" (in {'; '.join(f'{stem} {_ranges(sorted(those))}' for stem, those in numbers.items())})"


def _ranges(numbers: Sequence[int]) -> str:
    """Numbers in order, neighbours as one range."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]} to {run[-1]}" for run in runs)


def _some(names: tuple[str, ...]) -> str:
    shown = ", ".join(names[:_LISTED])
    return shown if len(names) <= _LISTED else f"{shown} and {len(names) - _LISTED} more"
