"""Makes checks of what the witnesses said: one function for each check, from values to a verdict with its findings."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from weightsmith.check.result import Check, CheckedCheckpoint, Finding
from weightsmith.checkpoint.config_file import CONFIG
from weightsmith.checkpoint.index import DISAGREEMENTS
from weightsmith.checkpoint.manifest_file import MANIFEST
from weightsmith.checkpoint.model_files import is_loaded, is_tokenizer
from weightsmith.errors import WeightsmithError
from weightsmith.foreign_text import shortened

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from weightsmith.checkpoint import Checkpoint, Problem
    from weightsmith.checkpoint.manifest_file import HashVerdict
    from weightsmith.json_value import Json
    from weightsmith.shapes import FieldReport, Inference
    from weightsmith.shapes.inference import Guess
    from weightsmith.values.value_survey import ValueSurvey

TOKENIZER, GENERATION = "tokenizer.json", "generation_config.json"
# Findings of one check that are told one by one: of what is broken throughout, infer-config and inspect list all.
_MOST = 100
# Characters of a value in a message; lists of layers may have thousands.
_LONGEST_VALUE = 80


@dataclass(frozen=True, slots=True)
class Evidence:
    """What was read of one checkpoint; an error stands where something could not be read.

    config: the path of its config, None where it has none. lines: name of a setting in it → its line. beside: the names
    in the checkpoint's folder. values: None where nobody asked. written: the files of weightsmith.json and what became
    of them, None where there is no such file, or where it takes long and nobody asked.
    """

    checkpoint: Checkpoint
    config: str | None
    lines: Mapping[str, int]
    beside: frozenset[str]
    inference: Inference | WeightsmithError
    values: ValueSurvey | WeightsmithError | None
    written: Sequence[tuple[str, HashVerdict]] | WeightsmithError | None

    def path(self, file: str) -> str:
        """The path of a file beside the weights, or of the checkpoint where no file is named."""
        if file == CONFIG and self.config is not None:
            return self.config
        return str(self.checkpoint.root / file if file else self.checkpoint.path)


def judged(path: str, seen: Evidence) -> CheckedCheckpoint:
    """All checks of a checkpoint that could be opened. path: as it was named."""
    found = _by_check(seen)
    checks = (
        _files(seen, found["files"]),
        _config(seen, found["config"]),
        _tensors(seen, found["tensors"]),
        _index(seen, found["index"]),
        _tokenizer(seen, found["tokenizer"]),
        _generation(seen, found["generation"]),
        _manifest(seen),
        _values(seen),
    )
    return CheckedCheckpoint(path, checks)


def not_read(path: str, error: WeightsmithError) -> CheckedCheckpoint:
    """A checkpoint that could not be opened: the one check that there is of it."""
    return CheckedCheckpoint(path, (_unreadable("files", error),))


def _unreadable(name: str, error: WeightsmithError) -> Check:
    finding = Finding(error.kind, "error", f"{error.fact}; {error.way_out}", error.subject)
    return Check(name, "unreadable", "could not be read", (finding,))


def _check(name: str, findings: Sequence[Finding], says: str) -> Check:
    """says: what is so where nothing is wrong."""
    errors = sum(one.level == "error" for one in findings)
    counts = ((errors, "error"), (len(findings) - errors, "warning"))
    said = ", ".join(f"{n:,} {word}{'' if n == 1 else 's'}" for n, word in counts if n)
    return Check(name, "fail" if errors else "pass", said or says, _first(findings))


def _first(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    """The first ones, and one that counts the others, which is as bad as the worst of them."""
    shown, rest = findings[:_MOST], findings[_MOST:]
    if not rest:
        return tuple(shown)
    worst = next((finding for finding in rest if finding.level == "error"), rest[0])
    return (*shown, replace(worst, message=f"and {len(rest):,} more, such as: {worst.message}"))


def _compared(name: str, seen: Evidence, findings: Sequence[Finding], says: str, absent: str) -> Check:
    """A check against what the shapes prove. absent: why there is nothing to compare, empty where there is."""
    inference = seen.inference
    if not absent and (isinstance(inference, WeightsmithError) or inference.verdict == "unknown"):
        absent = "not compared: no config is derived"
    if findings or not absent:
        return _check(name, findings, says)
    return Check(name, "skip", absent)


def _by_check(seen: Evidence) -> dict[str, list[Finding]]:
    """What was told as problems, under the check that it belongs to."""
    found: dict[str, list[Finding]] = {
        name: [] for name in ("files", "config", "tensors", "index", "tokenizer", "generation")
    }
    of_reader = {(problem.code, problem.message) for problem in seen.checkpoint.problems}
    for problem in _problems(seen):
        name = _about(problem.file, seen.checkpoint)
        if not problem.file and (problem.code, problem.message) in of_reader:
            name = "files"
        found[name].append(_finding(problem, seen))
    return found


def _problems(seen: Evidence) -> Iterable[Problem]:
    """Those of the reader are among those of the inference, where there is one."""
    if isinstance(seen.inference, WeightsmithError):
        return seen.checkpoint.problems
    instead = None if seen.inference.instead is None else seen.inference.instead.problem
    return (problem for problem in seen.inference.problems if problem != instead)


def _about(file: str, checkpoint: Checkpoint) -> str:
    """The check that a side file has of its own; what else there is belongs to the tensors."""
    if file and file == checkpoint.index:
        return "index"
    if is_tokenizer(file):
        return "tokenizer"
    return {CONFIG: "config", GENERATION: "generation"}.get(file, "tensors")


def _finding(problem: Problem, seen: Evidence) -> Finding:
    stops, path = problem.stops_loader or problem.code in DISAGREEMENTS, seen.path(problem.file)
    named = f"{problem.file}: " if problem.file else f"{path}: "  # the path stands before it already
    return Finding(problem.code, "error" if stops else "warning", problem.message.removeprefix(named), path)


def _files(seen: Evidence, findings: Sequence[Finding]) -> Check:
    """The reader's word on the weights: their headers are whole, or they would not have been opened."""
    table = seen.checkpoint
    files = list(table.files)
    named = files[0] if len(files) == 1 else f"{len(files):,} files"
    counts = f"{len(table.tensors):,} tensors, {table.parameters:,} parameters, {', '.join(table.dtypes())}"
    return _check("files", findings, f"{named} ({table.format}), {counts}")


def _config(seen: Evidence, problems: Sequence[Finding]) -> Check:
    inference = seen.inference
    if isinstance(inference, WeightsmithError):
        return _unreadable("config", inference)
    if inference.verdict == "unknown":
        return _not_derived(seen, inference, problems)
    contradicted = (
        inference.changes if inference.verdict == "differs" else ()
    )  # else there is no config to contradict
    changed = [_changed(field, seen) for field in contradicted if field.basis != "guess"]
    guessed = [_guessed(guess, seen) for guess in inference.guesses]
    family = inference.architecture.model_type
    if inference.verdict == "derived":
        says = f"there is none; the weights force all that shapes depend on ({family})"
    else:
        agreeing = sum(field.status == "agrees" for field in inference.fields)
        says = f"{family}: {agreeing:,} fields are what the weights say"
    return _check("config", [*changed, *guessed, *problems], says)


def _not_derived(seen: Evidence, inference: Inference, problems: Sequence[Finding]) -> Check:
    """No family explains the tensors, or they are no model, or so many are lost that no size follows."""
    error, instead = inference.failure(), inference.instead
    lost = error is None or (instead is None and inference.stopping)  # the lost tensors are told of as such
    if lost and not problems:
        return Check("config", "skip", "no size follows: tensors are lost")
    if lost or error is None:
        return _check("config", problems, "")
    rule = error.kind if instead is None else instead.problem.code
    said = f"{error.fact}; {error.way_out}"
    return _check("config", [Finding(rule, "error", said, str(seen.checkpoint.path)), *problems], "")


def _changed(field: FieldReport, seen: Evidence) -> Finding:
    """A setting that the weights contradict, with the first tensor that says so."""
    stated = f"is {_shown(field.configured)}"
    if field.configured is None and field.status != "differs":  # null is a value only where it is wrong
        stated = "is missing" if field.default is None else f"is {_shown(field.default)} by default"
    said = f"{field.name} {stated}, the weights say {_shown(field.derived)}"
    why = f" ({field.why})" if field.why else ""
    return Finding("config-field", "error", said + why, seen.path(CONFIG), seen.lines.get(field.name))


def _guessed(guess: Guess, seen: Evidence) -> Finding:
    values = shortened(", ".join(map(_shown, guess.candidates)), 2 * _LONGEST_VALUE)
    said = f"nothing decides {guess.name} ({values}); infer-config settles it with {guess.settle}"
    path = seen.path(CONFIG) if seen.config is not None else seen.path("")
    return Finding("guess", "error", said, path, seen.lines.get(guess.name))


def _shown(value: Json) -> str:
    return shortened(json.dumps(value, ensure_ascii=False, default=str), _LONGEST_VALUE)


def _tensors(seen: Evidence, findings: Sequence[Finding]) -> Check:
    inference = seen.inference
    family = None if isinstance(inference, WeightsmithError) else inference.architecture.model_type
    return _compared("tensors", seen, findings, f"each has its place and its shape in {family}", "")


def _index(seen: Evidence, findings: Sequence[Finding]) -> Check:
    index = seen.checkpoint.index
    if index is None:
        return Check("index", "skip", "there is none")
    return _check("index", findings, f"{index} names every tensor and the file that has it")


def _tokenizer(seen: Evidence, findings: Sequence[Finding]) -> Check:
    absent = ""
    if TOKENIZER not in seen.beside:
        others = sorted(filter(is_tokenizer, seen.beside))
        absent = f"{others[0]} is not read, {TOKENIZER} would be" if others else "there is none"
    says = f"{TOKENIZER}: nothing in it contradicts the embedding or the configs"
    return _compared("tokenizer", seen, findings, says, absent)


def _generation(seen: Evidence, findings: Sequence[Finding]) -> Check:
    absent = "" if GENERATION in seen.beside else f"there is no {GENERATION}"
    says = f"{GENERATION}: nothing in it contradicts {CONFIG} or the embedding"
    return _compared("generation", seen, findings, says, absent)


def _manifest(seen: Evidence) -> Check:
    written = seen.written
    if written is None:
        large = f"{MANIFEST} is large; with --values what it lists is compared"
        return Check("manifest", "skip", large if MANIFEST in seen.beside else f"there is no {MANIFEST}")
    if isinstance(written, WeightsmithError):
        return _unreadable("manifest", written)
    findings = [
        Finding("changed-file", "error", f"{file} is not what was written: {verdict}", seen.path(file))
        for file, verdict in written
        if verdict in ("changed", "other size", "missing") or (verdict == "not listed" and is_loaded(file))
    ]
    hashed = sum(verdict == "same" for _, verdict in written)
    sized = sum(verdict == "same size" for _, verdict in written)
    says = f"{hashed:,} files have the hashes that were written"
    by_size = f", {sized:,} the sizes (with --values hashes are compared)" if sized else ""
    return _check("manifest", findings, says + by_size)


def _values(seen: Evidence) -> Check:
    survey = seen.values
    if survey is None:
        return Check("values", "skip", "not read; --values reads them")
    if isinstance(survey, WeightsmithError):
        return _unreadable("values", survey)
    tensors = seen.checkpoint.tensors
    findings = [
        Finding("damage", "error", f"{fault.tensor}: {fault.what}", seen.path(tensors[fault.tensor].files[0]))
        for fault in survey.damage
    ]
    if survey.fusion.claimed_fused:
        said = "the ternary weights are latent, and a file beside them says that they are fused"
        findings.append(Finding("not-fused", "error", said, seen.path("")))
    sampled = " in the sampled rows" if survey.sampled else ""
    return _check("values", findings, f"no damage{sampled}; ternary fusion: {survey.fusion.state}")
