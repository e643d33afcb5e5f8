"""`weightsmith convert`: its arguments, its table, its exit code."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import click

from weightsmith import library
from weightsmith.cli import completion, terminal
from weightsmith.cli.help import epilog
from weightsmith.cli.options import A_PLACE, AS_JSON, LANGUAGE, pairs
from weightsmith.cli.progress import progress_bar
from weightsmith.cli.results import REPORT, delivered, need_report
from weightsmith.cli.terminal import BAD, DONE, aside, line
from weightsmith.cli.wording import cell, duration, size
from weightsmith.phrases import Sentence, say

if TYPE_CHECKING:
    from pathlib import Path

    from weightsmith.checkpoint.place import AnyPlace
    from weightsmith.convert import Conversion
    from weightsmith.convert.conversion import PartReport
    from weightsmith.phrases import Text
    from weightsmith.report import Language


def _list_converters(context: click.Context, _option: click.Parameter, asked: bool) -> None:
    """What `--converter` and `--set` take. The first line of a converter's own description stands for it."""
    if not asked or context.resilient_parsing:
        return
    from weightsmith.convert.plan.choose import built_in, third_party

    rows: list[tuple[Text, ...]] = []
    for converter in (*built_in(), *third_party()):
        summary = (type(converter).__doc__ or "").strip().partition("\n")[0]
        rows.append((converter.name, "", Sentence(summary)))
        rows += [("", f"--set {name}=…", Sentence(meaning)) for name, meaning in converter.options.items()]
    terminal.table(rows, [say("converter"), say("option"), say("what it does")], note=True)
    context.exit()


@click.command(
    "convert",
    epilog=epilog(
        [
            (
                "weightsmith convert model/ model-bf16/",
                "to safetensors; packed and latent weights become plain ones",
            ),
            (
                "weightsmith convert model/ model-w8a16/ --set pack=w8a16",
                "ternary weights, packed for vLLM Ascend",
            ),
            ("weightsmith convert model/ out/ --dry-run", "say what would be written"),
        ],
        [
            "DST is written and checked",
            "it is written, and a loader does not get through with it",
            "nothing is written: the line that begins with error: says why",
        ],
        "convert.md",
    ),
)
@click.argument("source", metavar="SRC", type=A_PLACE)
@click.argument("target", metavar="DST", type=A_PLACE)
@click.option(
    "--list",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_list_converters,
    help="List the converters and their options, and exit.",
)
@click.option(
    "--converter",
    metavar="NAME",
    shell_complete=completion.converters,
    help="Found from the evidence when not named.",
)
@click.option(
    "--set", "options", metavar="KEY=VALUE", multiple=True, help="An option of the converter; repeatable."
)
@click.option("--dtype", metavar="D", help="Cast the floating-point tensors: bfloat16, float16 or float32.")
@click.option("--max-shard-size", default="5GB", show_default=True, help="Start a new file beyond this.")
@click.option("--workers", type=click.IntRange(min=1), help="Threads; the bytes written do not depend on it.")
@click.option(
    "--hash", "hash_name", type=click.Choice(["blake3", "sha256"]), default="blake3", show_default=True
)
@click.option(
    "--resume", is_flag=True, help="Keep the finished shards that a killed run of the same work left."
)
@click.option("--accept-guesses", is_flag=True, help="Write a config also where some of it is a guess.")
@click.option("--allow-damage", is_flag=True, help="Convert also what is incomplete, NaN or infinite.")
@click.option(
    "--part",
    metavar="I/N",
    help="Write the I-th of N shares of the weights files, on any machine that has both folders.",
)
@click.option("--join", is_flag=True, help="Check what all parts wrote, and finish DST.")
@click.option(
    "--on", metavar="ray[=ADDRESS]", help="Write the parts on the nodes of a Ray cluster, and join them."
)
@click.option("--dry-run", is_flag=True, help="Plan and check, write nothing.")
@REPORT
@LANGUAGE
@AS_JSON
def command(
    source: AnyPlace,
    target: AnyPlace,
    converter: str | None,
    options: tuple[str, ...],
    dtype: str | None,
    max_shard_size: str,
    workers: int | None,
    hash_name: Literal["blake3", "sha256"],
    part: str | None,
    on: str | None,
    report: Path | None,
    language: Language,
    as_json: bool,
    **flags: bool,
) -> int:
    """Write DST, checked safetensors with a corrected config, from the checkpoint SRC."""
    need_report(report, as_json, source)
    with progress_bar(say("converting")) as bar:
        done = library.convert(
            source,
            target,
            converter=converter,
            options=pairs("--set", options),
            dtype=dtype,
            max_shard_size=max_shard_size,
            workers=workers,
            hash_name=hash_name,
            part=part,
            on=on,
            progress=bar,
            **flags,
        )
    return _told(done, as_json, report, language)


def _told(done: Conversion, as_json: bool, report: Path | None, language: Language) -> int:
    """Tells the result; the exit code."""
    _say_reasons(done)
    if delivered(done, as_json, report, language):
        _show(done)
    return DONE if done.sound else BAD


def _say_reasons(done: Conversion) -> None:
    """Why this converter, and what the user should know: beside the result."""
    terminal.warn(done.problems)
    words = "converter: {name}, because {reason}"
    aside(say(words, name=done.converter, reason=Sentence(done.reason)))
    for note in done.notes:
        aside(say("note: {note}", note=Sentence(note)))
    for name, why in done.left_out.items():
        aside(say("left out: {name} ({why})", name=name, why=Sentence(why)))


def _show(done: Conversion) -> None:
    counts = done.tensors
    words = "would write {output}: {size} in {seconds} s ({tensors})"
    if not done.dry_run:
        words = "wrote {output}: {size} in {seconds} s ({tensors})"
    tensors = say(
        "{converted} tensors converted, {copied} copied, {created} created, {dropped} dropped",
        converted=counts.converted,
        copied=counts.copied,
        created=counts.created,
        dropped=counts.dropped,
    )
    written = size(done.bytes_written)
    line(say(words, output=done.output, size=written, seconds=f"{done.seconds:.2f}", tensors=tensors))
    if done.options:
        chosen = ", ".join(f"{key}={value}" for key, value in done.options.items())
        line(say("options: {options}", options=chosen))
    if done.config_changes:
        rows = [(change.name, cell(change.before), cell(change.after)) for change in done.config_changes]
        headers = [say("config field"), say("from"), say("to")]
        terminal.table(rows, headers, right=headers[1:])
    line(say("files: {files}", files=", ".join(done.files)))
    if done.part is not None:
        _show_part(done.part)
    if done.nodes:
        _show_nodes(done)


def _show_nodes(done: Conversion) -> None:
    """What each machine of the cluster did, or will do."""
    rows = [
        (node.name, node.at_once, node.parts, size(node.nbytes), _rate(node.rate), duration(node.seconds))
        for node in done.nodes
    ]
    headers = [say("node"), say("at once"), say("parts"), say("bytes"), say("a second"), say("time")]
    terminal.table(rows, headers, right=headers[1:])
    if done.dry_run:
        line(say("times are measured on the first pieces: reading, converting and hashing, without writing"))


def _rate(rate: float | None) -> str:
    return "" if rate is None else size(round(rate))


def _show_part(part: PartReport) -> None:
    """How far all parts are, and what comes next."""
    if part.there_before:
        line(say("{count} of these files were there before", count=part.there_before))
    if part.finished == part.files:
        line(say("all {files} weights files are there: finish with --join", files=part.files))
    else:
        words = "{finished} of {files} weights files of all parts are there"
        line(say(words, finished=part.finished, files=part.files))
