"""`weightsmith infer-config`: its arguments, its table, its exit code."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

import click

from weightsmith import library
from weightsmith.cli import terminal
from weightsmith.cli.options import A_PATH, AS_JSON, CHECKPOINT, need_stdout_once, settings
from weightsmith.cli.terminal import BAD, DONE, FAILED, cell, line, say
from weightsmith.process.targets import is_stdout

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from weightsmith.shapes import FieldReport, Inference
    from weightsmith.shapes.inference import Guess
    from weightsmith.shapes.page.page import Page
    from weightsmith.shapes.reference.proof import ReferenceProof

_MAX_DIFFERENCES = 10
_WIDTH = 80
# A long value stays one word of the shell.
_LINES = textwrap.TextWrapper(
    _WIDTH,
    initial_indent="  ",
    subsequent_indent="    ",
    break_long_words=False,
    break_on_hyphens=False,
)
_ORDERS = {
    "published": "what most published models have",
    "class-default": "what is nearest to the class default",
}
_MARKS = {"agrees": "✓", "differs": "✗", "missing": "✗", "ambiguous": "?", "unverifiable": "·"}


@click.command("infer-config")
@CHECKPOINT
@click.option("--config", type=A_PATH, help="Check this file, not CKPT's own.")
@click.option("--model-type", help="The family to read the tensors as; found by itself when not given.")
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
@click.option("--trust-remote-code", is_flag=True, help="--learn and --check may run code that lies in CKPT.")
@AS_JSON
def command(
    checkpoint: Path,
    config: Path | None,
    model_type: str | None,
    user_set: tuple[str, ...],
    write: bool,
    output: Path | None,
    accept_guesses: bool,
    learn: bool,
    check: bool,
    trust_remote_code: bool,
    as_json: bool,
) -> int:
    """Derive the true config from the weights and compare it with config.json.

    Exit code 0: it agrees, was written, or was derived without a guess; 1: it differs, some of it is a guess, or
    --check refutes it; 2: no family fits.
    """
    _need_one_place(write, output, as_json)
    _need("--accept-guesses is for --write and --output", accept_guesses, write or output is not None)
    _need("--trust-remote-code is for --learn and --check", trust_remote_code, learn or check)
    found = library.infer(
        checkpoint,
        config=config,
        model_type=model_type,
        set=settings("--set", user_set),
        learn=learn,
        check=check,
        trust_remote_code=trust_remote_code,
        write=write,
        output=output,
        accept_guesses=accept_guesses,
    )
    _show_result(found, as_json, output)
    _say_outcome(found, asked_to_write=write or output is not None)
    return _exit_code(found)


def _show_result(found: Inference, as_json: bool, output: Path | None) -> None:
    """A config that was written to stdout is all that stands there."""
    if as_json:
        terminal.show_json(found.document(), of_config=("config", "fields"))
    elif not is_stdout(output):
        _show(found)


def _need_one_place(write: bool, output: Path | None, as_json: bool) -> None:
    """Raises click.UsageError where the config has two places to go to, or stdout two things to hold."""
    if write and output:
        raise click.UsageError("--write and --output exclude each other")
    need_stdout_once(as_json, output)


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
        say("nothing was written: --check refutes the corrected config")
    elif found.stopping and asked_to_write:
        say(f"nothing was written: {found.stopping[0].message}")
    elif asked_to_write and found.guesses and found.written is None:
        from weightsmith.shapes.guesses import names_of, settings_of  # `--help` does without the solver

        ways = f"settle it, such as with {settings_of(found.guesses)}, or take it with --accept-guesses"
        say(f"nothing was written: nothing decides {names_of(found.guesses)}; {ways}")
    elif found.written is not None:
        say(found.written)


def _show(found: Inference) -> None:
    """The table that the field reports drew by hand: what the weights say, what the config says, and why."""
    line(terminal.checkpoint_line(found.checkpoint))
    if found.learned is not None:
        _show_learned(found.learned)
    if found.architecture.model_type is None:
        line("no family of the catalog fits" + ("; nearest:" if found.nearest else ""))
        for nearest in found.nearest:
            line(f"  {nearest}")
        return
    architecture = found.architecture
    others = ", ".join(architecture.alternatives)
    same = f"; the tensors fit {others} as well" if others else ""
    line(f"family: {architecture.model_type} (from the {architecture.source}{same})")
    line()
    _show_fields(found)
    if found.guesses:
        _show_guesses(found.guesses)
    for problem in found.problems:
        line(f"problem: {problem.message} [{problem.code}]")
    for sentence in found.misread:
        line(f"written for {found.dialect}: {sentence}")
    line(f"verdict: {_verdict_sentence(found)}")
    if found.proof is not None:
        _show_proof(found.proof)


def _show_learned(page: Page) -> None:
    line(f"page: {page.model_type}, learned just now from {page.source}")
    for name, why in page.unexpressed.items():
        line(f"  not expressed: {name}: {why}")


def _show_fields(found: Inference) -> None:
    rows = [_field_row(field) for field in found.fields if field.status != "unverifiable"]
    terminal.table(rows, ["field", "weights", "config", "", "evidence"])
    line()
    kept = [f"{f.name}={cell(f.derived)}" for f in found.fields if f.status == "unverifiable"]
    if kept:
        filed = any(field.configured is not None for field in found.fields)
        whose = "kept as they are" if filed else "the class defaults"
        line(f"no shape can tell ({whose}): {', '.join(kept)}")


def _show_guesses(guesses: Sequence[Guess]) -> None:
    """What nothing decided: the value that was taken, the others, and the options that settle it."""
    from weightsmith.shapes.guesses import as_text, settling

    for order in dict.fromkeys(guess.order for guess in guesses):
        line(f"guessed, first {_ORDERS[order]}:")
        for guess in guesses:
            if guess.order == order:
                others = ", ".join(as_text(value) for value in guess.candidates[1:]) or "others"
                line(terminal.cut(f"  {guess.name} = {as_text(guess.value)}, or {others}", _WIDTH))
    line("settled by:")
    for guess in settling(guesses):
        too = f" ({', '.join(guess.together)} go with it)" if guess.together else ""
        for part in _LINES.wrap(f"{guess.settle}{too}"):
            line(part)


def _field_row(field: FieldReport) -> tuple[str, str, str, str, str]:
    configured = cell(field.configured) if field.default is None else f"({cell(field.default)} by default)"
    derived = cell(field.derived)
    if field.status == "ambiguous":
        derived += f" of {cell(list(field.candidates))}"
    guessed = ", guessed" if field.basis == "guess" else ""
    return field.name, derived, configured, f"{_MARKS[field.status]} {field.status}{guessed}", _why(field)


def _why(field: FieldReport) -> str:
    if not field.evidence:
        return ""
    first = field.evidence[0]
    where = first.tensor if first.axis is None else f"{first.tensor} axis {first.axis} = {first.size}"
    return where if first.equation == field.name else f"{where}: {first.equation}"


def _verdict_sentence(found: Inference) -> str:
    changed = [field.name for field in found.changes]
    lacking = len(found.architecture.missing_tensors)
    if found.verdict == "unknown":
        return "unknown: tensors are lost, and without a config no size follows from the others"
    if found.ruled_out:
        return "differs: the weights rule out what was set"
    if lacking and found.verdict == "differs":
        return f"differs: {lacking} tensors that the config demands are not there"
    if found.stopping and found.verdict == "differs":
        return f"differs: no loader gets through it ({', '.join(p.code for p in found.stopping)})"
    if found.verdict == "differs":
        why = "the weights and what was set" if found.user_set else "the weights"
        return f"differs: {why} rule out the config's {', '.join(changed)}; --write repairs config.json"
    if found.verdict == "guessed":
        return "guessed: settle it with --set, or take it with --write --accept-guesses"
    if found.verdict == "derived":
        return "derived: there is no config; --write makes one from the weights"
    return "agrees: the config is what the weights say"


def _show_proof(proof: ReferenceProof) -> None:
    built = f"{proof.reference} builds {proof.architecture} from it"
    if proof.holds:
        line(f"proof: {built}: {proof.tensors} tensors, every name and shape as stored")
        return
    line(f"proof: {built}, and {len(proof.differences)} tensors differ:")
    for difference in proof.differences[:_MAX_DIFFERENCES]:
        line(f"  {difference}")
