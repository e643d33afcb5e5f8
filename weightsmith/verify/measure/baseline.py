"""A run kept for another day or another machine: its log-probabilities and tokens in one safetensors file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from weightsmith.checkpoint.hashing import file_hash, opened_hash
from weightsmith.checkpoint.json_file import JsonFaultError, parse_object
from weightsmith.checkpoint.safetensors_file import read_safetensors
from weightsmith.checkpoint.small_file import LARGEST_TOKENIZER, is_there, open_named, open_small
from weightsmith.errors import CorruptCheckpoint, InvalidConfig, TargetRefused, UnknownFormat
from weightsmith.process.scratch import scratch_folder
from weightsmith.process.targets import copy_output
from weightsmith.records import NotARecord, Record
from weightsmith.verify.inputs.tokens import LogprobFile
from weightsmith.verify.measure.repetition import parting
from weightsmith.verify.reference.replay import References

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from weightsmith.verify.engine.engine import EngineRun
    from weightsmith.verify.inputs.kinds import Kind
    from weightsmith.verify.inputs.prompts import Prompt

_KEY, _VERSION = "weightsmith.baseline", 1
# Files that decide how text becomes token ids. tokenizer_config.json is left out: saving a model rewrites it.
_TOKENIZER = ("tokenizer.json", "tokenizer.model", "vocab.json", "merges.txt", "vocab.txt")
_MAKE_ONE = "make one with --save-baseline"
_DEVICE, _FULL, _HALF, _CONTROL = "D.", "R.", "B.", "control."


@dataclass(frozen=True, slots=True)
class Identity:
    """What must be equal for two runs to be comparable, and the weights, which need not be.

    kind: of model.
    prompts: texts.
    tokenizer, weights: BLAKE3 by file name.
    """

    kind: str
    prompts: tuple[str, ...]
    tokenizer: Mapping[str, str]
    weights: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class BaselineFacts(Record):
    """What a baseline file says of itself, in its metadata: the keys are the file format.

    kind, prompts, tokenizer, weights: as in `Identity`.
    device: the one it was made on.
    prompt_ids, tokens: by prompt number.
    sides: what stands before the names of tensors.
    controls: names of the wrong references in it.
    versions: of the libraries of that machine.
    """

    version: int
    kind: str
    prompts: tuple[str, ...]
    tokenizer: Mapping[str, str]
    weights: Mapping[str, str]
    device: str
    vocabulary: int
    prompt_ids: tuple[tuple[int, ...], ...]
    tokens: Mapping[int, tuple[int, ...]]
    sides: tuple[str, ...]
    controls: tuple[str, ...]
    versions: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Baseline:
    """An opened baseline file. tokens, prompt_ids: by prompt number. device: the one it was made on."""

    path: Path
    identity: Identity
    device: str
    vocabulary: int
    prompt_ids: tuple[tuple[int, ...], ...]
    tokens: Mapping[int, tuple[int, ...]]
    controls: tuple[str, ...]
    sides: tuple[str, ...]
    versions: Mapping[str, str]

    def references(self) -> References:
        """Its fp32 and bf16 replays and controls, where they were made, as if they had been run here."""
        return References(
            full=self._side(_FULL),
            half=self._side(_HALF),
            controls={name: self._file(f"{_CONTROL}{name}.") for name in self.controls},
            refused={},
            seconds={},
            versions=self.versions,
        )

    def device_logprobs(self) -> LogprobFile:
        """The log-probabilities of the device that it was made on."""
        return self._file(_DEVICE)

    def comparable(self, run: EngineRun) -> dict[int, int]:
        """By prompt, how many measured positions had the same tokens before them in both runs."""
        shared = {}
        for n, tokens in run.measured.items():
            if self.prompt_ids[n : n + 1] != run.prompt_ids[n : n + 1]:
                continue  # made to the size of another engine
            apart = parting(tokens, self.tokens.get(n, ()))
            both = min(len(tokens), len(self.tokens.get(n, ())))
            shared[n] = both if apart is None else min(apart + 1, both)
        return {n: count for n, count in shared.items() if count}

    def _side(self, side: str) -> LogprobFile | None:
        return self._file(side) if side in self.sides else None

    def _file(self, side: str) -> LogprobFile:
        return LogprobFile(self.path, self.vocabulary, side=side)


def identify(model: Path, kind: Kind, prompts: Sequence[Prompt], weights: Iterable[str]) -> Identity:
    """Hashes the tokenizer's files and the named weights files of a model folder."""
    return Identity(
        kind=kind.name,
        prompts=tuple(prompt.text for prompt in prompts),
        tokenizer={name: _tokenizer_hash(model / name) for name in _TOKENIZER if is_there(model / name)},
        weights={name: file_hash(model / name) for name in weights},
    )


def _tokenizer_hash(path: Path) -> str:
    with open_small(path, LARGEST_TOKENIZER) as file:
        return opened_hash(file)


def save(path: Path, identity: Identity, device: str, run: EngineRun, references: References | None) -> None:
    """Writes one file. Raises TargetRefused when it cannot be, or the engine gave less than its whole vocabulary."""
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    if run.logprobs.partial:
        fact = "the engine gave only its top tokens, and a baseline needs the whole vocabulary"
        raise TargetRefused(path, fact, "make the baseline with an engine that gives all log-probabilities")
    sides = {_DEVICE: run.logprobs}
    if references is not None:
        replays = {_FULL: references.full, _HALF: references.half}
        sides |= {side: file for side, file in replays.items() if file is not None}
        sides |= {f"{_CONTROL}{name}.": file for name, file in references.controls.items()}
    arrays: dict[str, NDArray[np.generic]] = {
        f"{side}p{n}.logprobs": file.logprobs(n) for side, file in sides.items() for n in run.measured
    }
    facts = BaselineFacts(
        version=_VERSION,
        kind=identity.kind,
        prompts=identity.prompts,
        tokenizer=identity.tokenizer,
        weights=identity.weights,
        device=device,
        vocabulary=run.logprobs.vocabulary,
        prompt_ids=run.prompt_ids,
        tokens=run.measured,
        sides=tuple(sides),
        controls=() if references is None else tuple(references.controls),
        versions=run.settings.versions,
    ).to_json()
    facts["settings"] = run.settings.to_json()  # for people; nothing reads it
    # The library writes to a path by itself, so it gets one that nobody else can reach.
    with scratch_folder() as scratch:
        made = scratch / "baseline.safetensors"
        try:
            save_file(arrays, made, metadata={_KEY: json.dumps(facts, ensure_ascii=False)})
        except SafetensorError as error:
            raise TargetRefused(made, f"cannot be written ({error})", "free some space in TMPDIR") from error
        copy_output(made, path)


def load(path: Path) -> Baseline:
    """Opens a baseline's metadata. Raises MissingInput, or UnknownFormat for a file that is none."""
    try:
        with open_named(path) as file:
            stated = read_safetensors(file).metadata.get(_KEY, "{}")
        facts = parse_object(stated.encode(errors="replace"), infinities=True)
    except CorruptCheckpoint as error:
        raise UnknownFormat(path, f"is no baseline ({error.fact})", _MAKE_ONE) from error
    except JsonFaultError as fault:
        raise UnknownFormat(path, f"is no baseline (its metadata {fault.fact})", _MAKE_ONE) from fault
    if facts.get("version") != _VERSION:
        raise UnknownFormat(path, "has no baseline of this version in it", _MAKE_ONE)
    return _need_rows(_read(path, facts))


def _need_rows(found: Baseline) -> Baseline:
    """Raises UnknownFormat where the file lacks log-probabilities that it speaks of."""
    positions = {n: len(tokens) for n, tokens in found.tokens.items()}
    sides = (*found.sides, *(f"{_CONTROL}{name}." for name in found.controls))
    for side in dict.fromkeys((_DEVICE, *sides)):
        fault = LogprobFile(found.path, found.vocabulary, side=side).fault(positions)
        if fault is not None:
            raise UnknownFormat(found.path, f"is no whole baseline ({fault})", _MAKE_ONE)
    return found


def need_same_questions(baseline: Baseline, here: Identity) -> None:
    """Raises InvalidConfig when the two runs were asked differently: their numbers say nothing about each other."""
    way_out = "make a baseline with the same prompts and tokenizer"
    if baseline.identity.prompts != here.prompts:
        raise InvalidConfig(baseline.path, "was made with other prompts", way_out)
    if baseline.identity.kind != here.kind:
        fact = f"was made with a {baseline.identity.kind} model, and this one is {here.kind}"
        raise InvalidConfig(baseline.path, fact, way_out)
    if baseline.identity.tokenizer != here.tokenizer:
        names = baseline.identity.tokenizer.keys() | here.tokenizer.keys()
        other = sorted(n for n in names if baseline.identity.tokenizer.get(n) != here.tokenizer.get(n))
        raise InvalidConfig(baseline.path, f"was made with another tokenizer ({', '.join(other)})", way_out)


def need_same_tokens(baseline: Baseline, run: EngineRun) -> None:
    """Raises InvalidConfig when the same tokenizer files gave other token ids, as another library version may."""
    asked = len(baseline.identity.prompts)
    same = baseline.prompt_ids[:asked] == run.prompt_ids[:asked]
    if not same or baseline.vocabulary != run.logprobs.vocabulary:
        fact = "its prompts have other token ids than this engine's"
        raise InvalidConfig(baseline.path, fact, "make a baseline with this version of transformers")


def _read(path: Path, document: object) -> Baseline:
    try:
        facts = BaselineFacts.from_json(document)
    except NotARecord as error:
        fact = f"its metadata is not what --save-baseline writes ({error})"
        raise UnknownFormat(path, fact, "make it again with --save-baseline") from error
    return Baseline(
        path=path,
        identity=Identity(facts.kind, facts.prompts, facts.tokenizer, facts.weights),
        device=facts.device,
        vocabulary=facts.vocabulary,
        prompt_ids=facts.prompt_ids,
        tokens=facts.tokens,
        controls=facts.controls,
        sides=facts.sides,
        versions=facts.versions,
    )
