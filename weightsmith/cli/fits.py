"""`weightsmith fits`: its arguments, its table, its exit code."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from weightsmith import library
from weightsmith.cli import completion, terminal
from weightsmith.cli.help import epilog
from weightsmith.cli.options import AS_JSON, CHECKPOINT, LANGUAGE
from weightsmith.cli.results import REPORT, delivered, need_report
from weightsmith.cli.terminal import BAD, DONE, FAILED, line
from weightsmith.cli.wording import checkpoint_line
from weightsmith.phrases import Sentence, say

if TYPE_CHECKING:
    from pathlib import Path

    from weightsmith.checkpoint.place import AnyPlace
    from weightsmith.fits.answer import Answer, Memory
    from weightsmith.phrases import Phrase, Text
    from weightsmith.report import Language

_GIB = 1 << 30
_EXITS = {"fits": DONE, "does-not-fit": BAD, "unknown": FAILED}


@click.command(
    "fits",
    epilog=epilog(
        [
            ("weightsmith fits model/ --chip 910B --cards 2", "does it load, and how much context fits?"),
            ("weightsmith fits model/ --on vllm-ascend==0.18.0", "on that version"),
            ("weightsmith fits model/ --context 32768 -- --quantization ascend", "as you serve it"),
        ],
        ["it loads and fits", "it does not", "what decides is not known"],
        "fits.md",
    ),
)
@CHECKPOINT
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="[-- ENGINE ARGUMENTS]")
@click.option(
    "--on", default="vllm-ascend", metavar="ENGINE==VERSION", help="The engine; its newest without a version."
)
@click.option(
    "--chip",
    default="910B",
    metavar="CHIP[:MEMORY]",
    shell_complete=completion.chips,
    help="910B, 910C, 310P, 950, cuda:80GB, cpu.",
)
@click.option(
    "--cards", type=click.IntRange(1), help="How many the model is divided among (tensor parallel)."
)
@click.option(
    "--context", type=click.IntRange(1), help="Tokens of one sequence; else all that the model reaches."
)
@click.option("--concurrency", type=click.IntRange(1), default=1, help="Sequences at a time.")
@click.option("--kv-memory", metavar="SIZE", help="What is free for the KV cache on a card, as 48.62GiB.")
@REPORT
@LANGUAGE
@AS_JSON
def command(
    checkpoint: AnyPlace,
    arguments: tuple[str, ...],
    on: str,
    chip: str,
    cards: int | None,
    context: int | None,
    concurrency: int,
    kv_memory: str | None,
    report: Path | None,
    language: Language,
    as_json: bool,
) -> int:
    """Say whether CKPT loads there, and how much context fits.

    Reads the headers of the weights, their config.json, and tables of what each engine's version can load.
    """
    from weightsmith.fits.target import size_in

    need_report(report, as_json, checkpoint)
    found = library.fits(
        checkpoint,
        on=on,
        chip=chip,
        cards=cards,
        context=context,
        concurrency=concurrency,
        kv_memory=None if kv_memory is None else size_in(kv_memory, "--kv-memory"),
        arguments=arguments,
    )
    if delivered(found, as_json, report, language):
        _show(found)
    return _EXITS[found.verdict]


def _show(found: Answer) -> None:
    target = found.target
    line(checkpoint_line(found.checkpoint, found.parameters))
    count = f"{target.cards} x " if target.cards > 1 else ""
    words = "on {engine} (transformers {version}), {chips}"
    version = target.engine.transformers.version
    line(say(words, engine=target.engine, version=version, chips=f"{count}{target.chip.name}"))
    for reason in found.reasons:
        mark = "?" if reason.weight == "open" else "✗"
        line(
            say("  {mark} {message} [{code}]", mark=mark, message=Sentence(reason.message), code=reason.code)
        )
    line()
    terminal.table(_rows(found.memory), [say("on each card"), ""], right=("",))
    if len(found.by_cards) > 1 and found.memory.kv_tokens is not None:
        line()
        headers = [
            say("cards"),
            say("weights on each"),
            say("cache holds"),
            say("longest sequence"),
            say("sequences"),
        ]
        terminal.table(_by_cards(found), headers, right=headers)
    for note in found.notes:
        line(say("note: {note}", note=Sentence(note)))
    line(say("verdict: {verdict}", verdict=_conclusion(found)))


def _rows(memory: Memory) -> list[tuple[Text, Text]]:
    rows: list[tuple[Text, Text]] = [(say("weights"), f"{memory.weights / _GIB:.2f} GiB")]
    if memory.kv_memory is not None:
        rows.append((say("free for the KV cache"), f"{memory.kv_memory / _GIB:.2f} GiB"))
    rows.append((say("KV cache per token"), f"{memory.kv_bytes_per_token:,} B"))
    if memory.kv_tokens is not None:
        rows.append((say("KV cache holds"), _tokens(memory.kv_tokens)))
    if memory.longest is not None:
        rows.append((say("longest sequence"), _tokens(memory.longest)))
    if memory.concurrency is not None:
        length = f"{memory.context:,}"
        rows.append((say("sequences of {count} tokens", count=length), f"{memory.concurrency:.1f}"))
    return rows


def _tokens(count: int | None) -> Phrase:
    return say("{count} tokens", count=f"{count or 0:,}")


def _by_cards(found: Answer) -> list[tuple[Text, ...]]:
    """The numbers of cards at which something changes for people: powers of two, and the one that was asked for."""
    return [
        (
            f"{cards}",
            f"{memory.weights / _GIB:.2f} GiB",
            _tokens(memory.kv_tokens),
            say("any") if memory.longest is None and memory.concurrency else _tokens(memory.longest),
            f"{memory.concurrency or 0.0:.1f}",
        )
        for cards, memory in found.by_cards
        if cards & (cards - 1) == 0 or cards in (found.target.cards, found.min_cards)
    ]


def _conclusion(found: Answer) -> Phrase:
    fewest = found.min_cards
    if found.verdict == "fits":
        enough = fewest in (None, found.target.cards)
        return say("fits" if enough else "fits; {count} would do", count=fewest)
    if found.verdict == "unknown":
        return say("unknown: what decides is not known")
    more = fewest is not None and fewest > found.target.cards
    return say("does not fit; {count} cards would hold it" if more else "does not fit", count=fewest)
