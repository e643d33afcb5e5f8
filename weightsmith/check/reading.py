"""Reads what a check needs of each checkpoint; what cannot be read becomes a finding and stops nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from weightsmith.check.judge import Evidence, judged, not_read
from weightsmith.check.result import Checked
from weightsmith.checkpoint import config_path, open_checkpoint
from weightsmith.checkpoint.manifest_file import MANIFEST
from weightsmith.checkpoint.model_files import is_weights
from weightsmith.checkpoint.place import file_size, is_folder, need_reached
from weightsmith.checkpoint.small_file import LARGEST_TOKENIZER, is_there, names_in
from weightsmith.errors import MissingInput, WeightsmithError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from weightsmith.check.result import CheckedCheckpoint
    from weightsmith.checkpoint import Checkpoint
    from weightsmith.checkpoint.manifest_file import HashVerdict
    from weightsmith.checkpoint.place import AnyPlace, Place
    from weightsmith.process.child import Stage
    from weightsmith.shapes import Inference
    from weightsmith.values.value_survey import ValueSurvey

    Infer = Callable[[Checkpoint], Inference]
    Survey = Callable[[Checkpoint], ValueSurvey | None]

T = TypeVar("T")
# Bytes of a weightsmith.json that is read together with the headers. That of 4,000 shards has half of that; a hundred
# thousand entries would take longer than all headers.
_QUICK_MANIFEST = 2 << 20


def checked(
    paths: Iterable[AnyPlace],
    infer: Infer,
    survey: Survey | None,
    *,
    whole: bool = False,
    strict: bool = False,
    progress: Stage | None = None,
) -> Checked:
    """Each of these checkpoints once, in their order.

    infer, survey: the witnesses of the shapes and of the values; None: nobody asked for the values. whole: weights are
    hashed where their hashes are known. strict: a warning counts as an error. progress: told how many of them are done.
    """
    once = list(dict.fromkeys(paths))
    found: list[CheckedCheckpoint] = []
    for path in once:
        if progress is not None:
            progress("checking", len(found), len(once))
        one = _checked(path, infer, survey, whole=whole)
        found.append(one.strict() if strict else one)
    if progress is not None:
        progress("checking", len(once), len(once))
    return Checked(tuple(found))


def folders_of(files: Iterable[Place]) -> list[Place]:
    """The folders that these files lie in, as far as they hold weights. A folder stands for itself."""
    folders = dict.fromkeys(path if _is_folder(path) else path.parent for path in files)
    return [folder for folder in folders if any(map(is_weights, names_in(folder)))]


def _is_folder(path: Place) -> bool:
    try:
        return is_folder(path)
    except MissingInput:
        return False


def _checked(path: AnyPlace, infer: Infer, survey: Survey | None, *, whole: bool) -> CheckedCheckpoint:
    try:
        opened = open_checkpoint(path)
    except WeightsmithError as error:
        return not_read(str(path), error)
    inference = _answer(lambda: infer(opened))
    config = None if opened.config is not None else config_path(opened)
    evidence = Evidence(
        checkpoint=opened,
        config=None if config is None else str(config),
        lines={} if isinstance(inference, WeightsmithError) else _lines(opened, inference),
        beside=frozenset(names_in(opened.root)),
        inference=inference,
        values=None if survey is None else _answer(lambda: survey(opened)),
        written=_still_written(opened, whole=whole),
    )
    reached = _answer(lambda: need_reached(opened.root))
    return judged(str(path), evidence) if reached is None else not_read(str(path), reached)


def _answer(question: Callable[[], T]) -> T | WeightsmithError:
    """What comes of a question, or why nothing does."""
    try:
        return question()
    except WeightsmithError as error:
        return error


def _lines(opened: Checkpoint, inference: Inference) -> Mapping[str, int]:
    """Where in config.json the settings are that the weights contradict; a file of another format has no lines."""
    from weightsmith.shapes import find_config, lines_of

    changed = [field.name for field in inference.changes]
    config = _answer(lambda: find_config(opened)) if changed and opened.config is None else None
    return {} if config is None or isinstance(config, WeightsmithError) else lines_of(config, changed)


def _still_written(
    opened: Checkpoint, *, whole: bool
) -> Sequence[tuple[str, HashVerdict]] | WeightsmithError | None:
    """What became of the files of weightsmith.json; None where there is none, or one that takes long."""
    path = opened.root / MANIFEST
    if not is_there(path) or not (whole or file_size(path) <= _QUICK_MANIFEST):
        return None
    from weightsmith.convert.finish.hash_check import check_hashes

    return _answer(lambda: check_hashes(opened.root, most=None if whole else LARGEST_TOKENIZER))
