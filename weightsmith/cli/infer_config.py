"""`weightsmith infer-config`: its arguments, its table, its exit code."""

from __future__ import annotations

import shlex
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from weightsmith import library
from weightsmith.cli import completion, terminal
from weightsmith.cli.explained import show_explanation
from weightsmith.cli.help import epilog
from weightsmith.cli.options import A_PATH, AS_JSON, CHECKPOINTS, LANGUAGE, VERBOSE, settings
from weightsmith.cli.progress import stages
from weightsmith.cli.results import REPORT, command_line, delivered, need_report
from weightsmith.cli.several import each
from weightsmith.cli.terminal import BAD, DONE, FAILED, aside, line
from weightsmith.cli.told import show_behaviour, show_values
from weightsmith.cli.wording import cell, checkpoint_line, counted, run_lines
from weightsmith.phrases import Sentence, say

if TYPE_CHECKING:
    from collections.abc import Sequence

    from weightsmith.checkpoint.place import AnyPlace
    from weightsmith.json_value import Json, JsonObject
    from weightsmith.phrases import Phrase, Text
    from weightsmith.report import Language
    from weightsmith.shapes import FieldReport, Inference
    from weightsmith.shapes.inference import Guess
    from weightsmith.shapes.page.page import Page
    from weightsmith.shapes.reference.proof import ReferenceProof

_MAX_DIFFERENCES = 10
_ORDERS = {
    "published": say("guessed, first what most published models have:"),
    "class-default": say("guessed, first what is nearest to the class default:"),
    "likelihood": say("guessed, first what makes known texts likeliest:"),
}
_STATES = {
    "agrees": say("✓ agrees"),
    "differs": say("✗ differs"),
    "missing": say("✗ missing"),
    "ambiguous": say("? ambiguous"),
    "unverifiable": say("· unverifiable"),
}
_OTHER_VERDICTS = {
    "guessed": say("guessed: settle it with --set, or accept the guesses"),
    "derived": say("derived: there is no config, and every shape is explained"),
    "agrees": say("agrees: the config is what the weights say"),
}
# Of the document: values of a config stand there.
_OF_CONFIG = ("config", "fields")


@click.command(
    "infer-config",
    epilog=epilog(
        [
            ("weightsmith infer-config model/", "what the weights say, beside config.json"),
            (
                "weightsmith infer-config model/ --write",
                "repair config.json; the old one becomes config.json.bak",
            ),
            (
                "weightsmith infer-config model.safetensors --set head_dim=128 --output -",
                "a config for bare weights",
            ),
        ],
        [
            "the config agrees, was written, or was derived without a guess",
            "it differs, some of it is a guess, or --check refutes it",
            "no family fits, or CKPT cannot be read",
        ],
        "infer-config.md",
    ),
)
@CHECKPOINTS
@click.option("--config", type=A_PATH, help="Check this file, not CKPT's own.")
@click.option(
    "--model-type",
    shell_complete=completion.families,
    help="The family to read the tensors as; found by itself when not given.",
)
@click.option(
    "--set",
    "user_set",
    metavar="FIELD=VALUE",
    multiple=True,
    help="Take this value as given (JSON, or a word); repeatable.",
)
@click.option(
    "--write", is_flag=True, help="Replace config.json by the corrected one; the old one becomes .bak."
)
@click.option("--output", type=A_PATH, help="Write the corrected config here instead; - is stdout.")
@click.option("--accept-guesses", is_flag=True, help="Write the config also where values in it are guesses.")
@click.option("--learn", is_flag=True, help="Learn the family from transformers when the catalog lacks it.")
@click.option(
    "--check", is_flag=True, help="Let transformers build the corrected config, and compare it all."
)
@click.option(
    "--values", is_flag=True, help="Read a sample of the numbers, and let it settle what no shape tells."
)
@click.option(
    "--behaviour",
    is_flag=True,
    help="Let transformers read short texts with other settings, and rule out what makes them less likely.",
)
@click.option(
    "--explain",
    is_flag=True,
    help="Tell what each witness of the shapes knew, what was joined, and what decided.",
)
@click.option("--trust-remote-code", is_flag=True, help="--learn and --check may run code that lies in CKPT.")
@REPORT
@LANGUAGE
@VERBOSE
@AS_JSON
def command(
    checkpoints: tuple[AnyPlace, ...],
    config: Path | None,
    model_type: str | None,
    user_set: tuple[str, ...],
    write: bool,
    output: Path | None,
    accept_guesses: bool,
    report: Path | None,
    language: Language,
    verbose: bool,
    as_json: bool,
    **asked: bool,
) -> int:
    """Derive the true config from the weights and compare it with config.json.

    Of several, one after the other; an option holds for each. --write, --output and --report take one.
    """
    runs_code = asked["learn"] or asked["check"]
    _need_sense(
        len(checkpoints), write, output, report, accept_guesses, asked["trust_remote_code"], runs_code
    )
    need_report(report, as_json, *checkpoints, other=output)
    look = partial(
        _look,
        config=config,
        model_type=model_type,
        set=settings("--set", user_set),
        write=write,
        output=output,
        accept_guesses=accept_guesses,
        **asked,
    )
    as_list = as_json and len(checkpoints) > 1
    show = partial(_deliver, report, language, output, as_json and not as_list, verbose)
    end = partial(_end, asked_to_write=write or output is not None)
    return each(checkpoints, look, show, end, _document, as_json=as_list, of_config=_OF_CONFIG)


def _look(checkpoint: AnyPlace, /, **options: Any) -> Inference:
    with stages() if options["behaviour"] else nullcontext() as progress:
        return library.infer(checkpoint, progress=progress, **options)


def _deliver(
    report: Path | None,
    language: Language,
    output: Path | None,
    as_json: bool,
    verbose: bool,
    found: Inference,
) -> None:
    if delivered(found, as_json, report, language, other=output, of_config=_OF_CONFIG):
        _show(found, verbose=verbose)


def _document(found: Inference) -> JsonObject:
    return library.document_of(found, command=command_line())


def _end(found: Inference, *, asked_to_write: bool) -> int:
    _say_outcome(found, asked_to_write=asked_to_write)
    return _exit_code(found)


def _need_sense(
    checkpoints: int,
    write: bool,
    output: Path | None,
    report: Path | None,
    accept_guesses: bool,
    trusts_code: bool,
    runs_code: bool,
) -> None:
    """Raises click.UsageError unless there is one config, with one place to go to, where one is to be written.

    trusts_code, runs_code: code of the checkpoint may be run, and something is asked that would run it.
    """
    writes = write or output is not None
    if checkpoints > 1 and (writes or report is not None):
        raise click.UsageError("--write, --output and --report take one CKPT: one after the other")
    if write and output:
        raise click.UsageError("--write and --output exclude each other")
    _need("--accept-guesses is for --write and --output", accept_guesses, writes)
    _need("--trust-remote-code is for --learn and --check", trusts_code, runs_code)


def _need(sentence: str, given: bool, useful: bool) -> None:
    """Raises click.UsageError where a flag is given that would do nothing."""
    if given and not useful:
        raise click.UsageError(f"{sentence}; nothing else needs it")


def _exit_code(found: Inference) -> int:
    if found.verdict == "unknown":
        return FAILED
    if found.refuted:
        return BAD
    return BAD if found.verdict in ("differs", "guessed") and not found.written else DONE


def _say_outcome(found: Inference, *, asked_to_write: bool) -> None:
    error = found.failure()
    if error is not None:
        terminal.fail(error)
    elif found.refuted and asked_to_write:
        aside(say("nothing was written: --check refutes the corrected config"))
    elif found.stopping and asked_to_write:
        aside(say("nothing was written: {why}", why=Sentence(found.stopping[0].message)))
    elif asked_to_write and found.guesses and found.written is None:
        from weightsmith.shapes.guesses import names_of, settings_of  # `--help` does without the solver

        aside(
            say(
                "nothing was written: nothing decides {names}; settle it, such as with {settings}, or take it with "
                "--accept-guesses",
                names=names_of(found.guesses),
                settings=settings_of(found.guesses),
            )
        )
    elif found.written is not None:
        aside(Sentence(found.written))


def _show(found: Inference, *, verbose: bool) -> None:
    """The table that the field reports drew by hand: what the weights say, what the config says, and why."""
    line(checkpoint_line(found.checkpoint))
    for told in run_lines(found.checkpoint):
        line(told)
    if found.learned is not None:
        _show_learned(found.learned)
    if found.architecture.model_type is None:
        fits = "no family of the catalog fits; nearest:" if found.nearest else "no family of the catalog fits"
        line(say(fits))
        for nearest in found.nearest:
            line(say("  {nearest}", nearest=Sentence(nearest)))
        return
    _show_family(found, verbose=verbose)
    line()
    show_explanation(found.explained, verbose=verbose)
    _show_fields(found, verbose=verbose)
    if found.guesses:
        _show_guesses(found.guesses)
    show_values(found)
    show_behaviour(found, verbose=verbose)
    for problem in found.problems:
        line(say("problem: {message} [{code}]", message=Sentence(problem.message), code=problem.code))
    for sentence in found.misread:
        line(say("written for {dialect}: {what}", dialect=found.dialect, what=Sentence(sentence)))
    if found.proof is not None:
        _show_proof(found.proof)
    line(say("verdict: {verdict}", verdict=_verdict_sentence(found)))
    if step := _next_step(found):
        terminal.next_step(step)


def _show_family(found: Inference, *, verbose: bool) -> None:
    others = found.architecture.alternatives
    if others and (verbose or len(others) == 1):
        same: Text = say("; the tensors fit {others} as well", others=", ".join(others))
    else:
        same = say("; {count} other families have the same tensors", count=len(others)) if others else ""
    words = "family: {family} (from the config{same})"
    if found.architecture.source == "tensors":
        words = "family: {family} (from the tensors{same})"
    line(say(words, family=found.architecture.model_type, same=same))


def _show_learned(page: Page) -> None:
    line(say("page: {family}, learned just now from {source}", family=page.model_type, source=page.source))
    for name, why in page.unexpressed.items():
        line(say("  not expressed: {name}: {why}", name=name, why=Sentence(why)))


def _show_fields(found: Inference, *, verbose: bool) -> None:
    """What is wrong or open first, each with its evidence; what agrees in one line."""
    agreeing = [field for field in found.fields if field.status == "agrees"]
    open_ones = [field for field in found.fields if field.status not in ("agrees", "unverifiable")]
    shown = [*open_ones, *(agreeing if verbose or not open_ones else ())]
    if shown:
        rows = [_field_row(field, with_evidence=verbose or field in open_ones) for field in shown]
        headers: list[Text] = [say("field"), say("weights"), say("config"), "", say("evidence")]
        terminal.table(rows, headers, right=headers[1:3], note=True)
        line()
    if agreeing and len(shown) == len(open_ones):
        names = ", ".join(field.name for field in agreeing)
        line(
            say(
                "✓ {agree}: {names}",
                agree=counted(len(agreeing), "field agrees", "fields agree"),
                names=names,
            )
        )
    kept = [field for field in found.fields if field.status == "unverifiable"]
    if kept:
        _show_kept(kept, verbose=verbose)


def _show_kept(kept: Sequence[FieldReport], *, verbose: bool) -> None:
    of_file = any(f.configured is not None for f in kept)
    whose = say("kept as they are") if of_file else say("the class defaults")
    if verbose:
        values = ", ".join(f"{f.name}={cell(f.derived)}" for f in kept)
        line(say("· no shape can tell ({whose}): {values}", whose=whose, values=values))
    else:
        settings = counted(len(kept), "setting")
        words = "· {settings} that no shape can tell ({whose}; -v lists them)"
        line(say(words, settings=settings, whose=whose))


def _show_guesses(guesses: Sequence[Guess]) -> None:
    """What nothing decided: the value that was taken, the others, and the options that settle it."""
    from weightsmith.shapes.guesses import as_text, settling

    for order in dict.fromkeys(guess.order for guess in guesses):
        line(_ORDERS[order])
        for guess in guesses:
            if guess.order == order:
                listed: Text = ", ".join(as_text(value) for value in guess.candidates[1:])
                others = listed or say("others")
                words = "  {name} = {value}, or {others}"
                line(say(words, name=guess.name, value=as_text(guess.value), others=others))
    line(say("settled by:"))
    for guess in settling(guesses):
        together = ", ".join(guess.together)
        words = "  {settle} ({together} go with it)" if together else "  {settle}"
        line(say(words, settle=guess.settle, together=together))


def _field_row(field: FieldReport, *, with_evidence: bool) -> tuple[str, Text, Text, Text, str]:
    default = say("({value} by default)", value=cell(field.default))
    configured = default if field.default is not None else _value(field, field.configured)
    derived: Text = _value(field, field.derived)
    if field.status == "ambiguous":
        derived = say("{value} of {candidates}", value=derived, candidates=cell(list(field.candidates)))
    state = _STATES[field.status]
    if field.basis == "guess":
        state = say("{state}, guessed", state=state)
    return field.name, derived, configured, state, Sentence(field.why if with_evidence else "")


def _value(field: FieldReport, value: Json) -> str:
    """Null is a value where the config has to be changed; elsewhere it is what is not there."""
    return "" if value is None and field.status != "differs" else cell(value)


def _verdict_sentence(found: Inference) -> Phrase:
    lacking = len(found.architecture.missing_tensors)
    if found.verdict == "unknown":
        return say("unknown: tensors are lost, and without a config no size follows from the others")
    if found.ruled_out:
        return say("differs: the weights rule out what was set")
    if lacking and found.verdict == "differs":
        return say("differs: {count} tensors that the config demands are not there", count=lacking)
    if found.stopping and found.verdict == "differs":
        codes = ", ".join(problem.code for problem in found.stopping)
        return say("differs: no loader gets through it ({codes})", codes=codes)
    if found.verdict == "differs":
        words = "differs: the weights rule out the config's {fields}"
        if found.user_set:
            words = "differs: the weights and what was set rule out the config's {fields}"
        return say(words, fields=", ".join(field.name for field in found.changes))
    return _OTHER_VERDICTS[found.verdict]


def _next_step(found: Inference) -> str:
    """Empty where nothing is to be done with this checkpoint as it is, or the config was written."""
    path = shlex.quote(str(found.checkpoint.path))
    here = isinstance(found.checkpoint.path, Path)
    to = "--write" if here else "--output config.json"
    if found.refuted or found.written is not None:
        return ""
    if found.verdict == "agrees":
        return f"weightsmith {'verify-on-npu' if here else 'fits'} {path}"
    if found.guesses:
        return f"weightsmith infer-config {path} {to} --accept-guesses"
    writable = found.verdict in ("differs", "derived") and not found.stopping and not found.ruled_out
    return f"weightsmith infer-config {path} {to}" if writable else ""


def _show_proof(proof: ReferenceProof) -> None:
    built = say("{reference} builds {name} from it", reference=proof.reference, name=proof.architecture)
    if proof.holds:
        words = "proof: {built}: {count} tensors, every name and shape as stored"
        line(say(words, built=built, count=proof.tensors))
        return
    line(say("proof: {built}, and {count} tensors differ:", built=built, count=len(proof.differences)))
    for difference in proof.differences[:_MAX_DIFFERENCES]:
        line(f"  {difference}")
