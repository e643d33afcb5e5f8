"""`weightsmith verify-on-npu`: its arguments, its table, its exit code."""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

from weightsmith import library
from weightsmith.cli import terminal
from weightsmith.cli.help import epilog
from weightsmith.cli.options import A_PATH, A_PLACE, AS_JSON, LANGUAGE, VERBOSE, need_stdout_once, pairs
from weightsmith.cli.progress import stages
from weightsmith.cli.results import command_line
from weightsmith.cli.terminal import BAD, DONE, line
from weightsmith.cli.wording import counted, figure
from weightsmith.phrases import Sentence, say
from weightsmith.process.targets import is_stdout

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import TypedDict

    from typing_extensions import Unpack

    from weightsmith.checkpoint.place import AnyPlace
    from weightsmith.phrases import Phrase, Text
    from weightsmith.report import Language
    from weightsmith.report.commands import Commands
    from weightsmith.verify import VerifyResult
    from weightsmith.verify.engine.device import Asked
    from weightsmith.verify.judge.gates import Gate
    from weightsmith.verify.options import Conditions

    class _Chosen(TypedDict):
        """Options that go to the library as they are."""

        device: Asked
        reference: str
        prompts: Path | None
        engine_timeout: float
        latent: Path | None
        deterministic: bool
        language: Language
        serve: bool
        tokens: int
        conditions: Conditions
        tasks: tuple[str, ...]
        baselines: tuple[str, ...]
        tolerance: float | None
        bench: tuple[tuple[int, int], ...]
        known_texts: bool


_STATES = {"pass": say("✓ pass"), "fail": say("✗ fail"), "inconclusive": say("? inconclusive")}
_VERDICTS = {"pass": say("pass"), "fail": say("fail"), "inconclusive": say("inconclusive")}
_ORDER = ("fail", "inconclusive", "pass")


def _share(context: click.Context, option: click.Parameter, tolerance: str | None) -> float | None:
    from weightsmith.verify.tasks.expected import share

    found = None if tolerance is None else share(tolerance)
    if found is None and tolerance is not None:
        raise click.UsageError(f"--tolerance {tolerance} is no share: write 2pp or 0.02")
    return found


def _lengths(
    context: click.Context, option: click.Parameter, given: tuple[str, ...]
) -> tuple[tuple[int, int], ...]:
    """Lengths (input, output) in tokens."""
    found = []
    for text in given:
        numbers = re.fullmatch(r"([1-9][0-9]{0,6}):([1-9][0-9]{0,6})", text)
        if numbers is None:
            raise click.UsageError(f"--bench {text} is not INPUT:OUTPUT, two numbers of tokens")
        found.append((int(numbers[1]), int(numbers[2])))
    return tuple(found)


def _list_gates(context: click.Context, _option: click.Parameter, asked: bool) -> None:
    """What `--gate` takes."""
    if not asked or context.resilient_parsing:
        return
    from weightsmith.verify.judge.gates import GATES

    rows = [(gate.name, figure(gate.limit), _meaning(gate)) for gate in GATES]
    headers = [say("gate"), say("limit"), say("of what, and why there")]
    terminal.table(rows, headers, right=headers[1:2], note=True)
    context.exit()


@click.command(
    "verify-on-npu",
    epilog=epilog(
        [
            ("weightsmith verify-on-npu model/ --report report.html", "one chip, weightsmith's own settings"),
            (
                "weightsmith verify-on-npu model/ --serve -- --tensor-parallel-size 2",
                "exactly what you serve",
            ),
            (
                "weightsmith verify-on-npu model/ --device cpu --reference none",
                "is it alive? Without a reference",
            ),
        ],
        [
            "the verdict is pass",
            "fail, or inconclusive",
            "it could not be run: device, package, model or usage",
        ],
        "verify.md",
    ),
)
@click.argument("model", required=False, type=A_PLACE)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="[-- ENGINE ARGUMENTS]")
@click.option(
    "--device", type=click.Choice(["auto", "npu", "cuda", "cpu"]), default="auto", show_default=True
)
@click.option(
    "--reference", metavar="hf|FILE|none", default="hf", show_default=True, help="What to compare with."
)
@click.option("--prompts", type=A_PATH, help="JSON lines that replace the built-in prompts.")
@click.option(
    "--save-baseline", type=A_PATH, help="Keep tokens and log-probabilities for later; - is stdout."
)
@click.option(
    "--report", type=A_PATH, help="Write a report here: FILE.html, FILE.json, else Markdown; - is stdout."
)
@LANGUAGE
@click.option(
    "--print-command", is_flag=True, help="Run nothing: print how the same engine is served and asked."
)
@click.option(
    "--list-gates",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_list_gates,
    help="List the limits, each with its reason, and exit.",
)
@click.option(
    "--gate", "gates", metavar="NAME=VALUE", multiple=True, help="Another limit for a check; repeatable."
)
@click.option(
    "--engine-timeout",
    type=click.FloatRange(min=1),
    default=3600.0,
    show_default=True,
    metavar="SECONDS",
    help="An engine that has not answered by then is ended and has failed.",
)
@click.option(
    "--latent",
    metavar="DIR",
    type=A_PATH,
    help="The latent weights that MODEL was fused from: a control that must fail. Found by itself beside MODEL.",
)
@click.option(
    "--tokens",
    type=click.IntRange(0),
    default=1000,
    show_default=True,
    help="Of one long answer, which is decoded and prefilled; 0 for none.",
)
@click.option(
    "--conditions",
    type=click.Choice(["auto", "none"]),
    default="auto",
    show_default=True,
    help="none: HRM-Text without the condition tokens that its tokenizer never had.",
)
@click.option(
    "--serve", is_flag=True, help="Serve it over HTTP as well, and ask there what the engine was asked."
)
@click.option(
    "--task",
    "tasks",
    metavar="NAME|FILE",
    multiple=True,
    help="Ask the server a task of lm-evaluation-harness: a name of its own, or a task file; repeatable.",
)
@click.option(
    "--baseline",
    "baselines",
    metavar="[TASK=]ACCURACY|FILE",
    multiple=True,
    help="What to expect of it: 0.703, 70.3%, or the JSON of another run; repeatable.",
)
@click.option(
    "--tolerance",
    metavar="SHARE",
    callback=_share,
    help="A drop of accuracy that nobody minds: 2pp, 0.02.",
)
@click.option(
    "--bench",
    metavar="INPUT:OUTPUT",
    multiple=True,
    callback=_lengths,
    help="Measure the server under loads of so many tokens, 1 and 10 requests at a time, such as 12:128; repeatable.",
)
@click.option(
    "--deterministic", is_flag=True, help="Set the variables that make an NPU give the same answers twice."
)
@click.option("--no-cache", is_flag=True, help="Compute every reference anew and keep none.")
@click.option(
    "--known-texts/--no-known-texts",
    default=True,
    help="Ask known texts whether other settings, or another order of the weights, would be better, if that is quick.",
)
@click.option(
    "--self-test", is_flag=True, help="No MODEL: prove this machine with a tiny HRM-Text of our own."
)
@VERBOSE
@AS_JSON
def command(
    model: AnyPlace | None,
    arguments: tuple[str, ...],
    save_baseline: Path | None,
    report: Path | None,
    gates: tuple[str, ...],
    no_cache: bool,
    self_test: bool,
    print_command: bool,
    verbose: bool,
    as_json: bool,
    **chosen: Unpack[_Chosen],
) -> int:
    """Load MODEL in vLLM, smoke-test it and measure it against a reference. Exit code 0: pass, 1: anything else.

    What stands behind `--` is what `vllm serve` would be given, and the engine is started with exactly that. Without
    it weightsmith chooses: bfloat16, one device, as many positions as the prompts need.
    """
    _need_model_or_self_test(model, self_test and not print_command)
    need_stdout_once(as_json, report, save_baseline)
    if print_command and model is not None:
        _show_commands(library.serving_commands(model, arguments or None), as_json)
        return DONE
    with stages(_what(model, arguments)) as tell:
        found = library.verify(
            model,
            arguments=arguments or None,
            save_baseline=save_baseline,
            report=report,
            gates=_limits(gates),
            cache=not no_cache,
            command=command_line(),
            progress=tell,
            **chosen,
        )
    if as_json:
        terminal.show_json(found.document())
    elif not (is_stdout(report) or is_stdout(save_baseline)):
        _show(found, verbose=verbose)
    return DONE if found.verdict == "pass" else BAD


def _what(model: AnyPlace | None, arguments: Sequence[str]) -> str:
    """What takes as long as it took before: the same model by the same engine; each stage by its own name."""
    subject = "--self-test" if model is None else os.path.abspath(str(model))  # noqa: PTH100 - links are other names
    return shlex.join(["verify-on-npu", subject, *arguments])


def _meaning(gate: Gate) -> Phrase:
    return say("{unit}: {reason}", unit=Sentence(gate.unit), reason=Sentence(gate.reason))


def _need_model_or_self_test(model: AnyPlace | None, self_test: bool) -> None:
    if self_test == (model is not None):
        raise click.UsageError("name a MODEL, or --self-test and none")
    if model is not None and Path(str(model)).name.startswith("-"):
        raise click.UsageError(f"{model} stands where MODEL should: name it before `--`")


def _limits(gates: tuple[str, ...]) -> dict[str, float]:
    try:
        return {name: float(value) for name, value in pairs("--gate", gates).items()}
    except ValueError as error:
        raise click.UsageError(f"--gate: {error}") from error


def _show_commands(found: Commands, as_json: bool) -> None:
    """Three blocks, each with what it is for; a shell and Python take the words before them as comments."""
    if as_json:
        document = {
            "serve": "\n".join(found.serve),
            "ask": "\n".join(found.ask),
            "python": "\n".join(found.python),
        }
        terminal.show_json({"command": "verify-on-npu", **document})
        return
    blocks = (
        (say("# the server"), found.serve),
        (say("# ask it"), found.ask),
        (say("# in Python"), found.python),
    )
    for words, lines in blocks:
        line(words)
        for one in lines:
            line(one)
        line()


def _show(found: VerifyResult, *, verbose: bool) -> None:
    """What failed or is open first, each with what it means; what passed with its figures alone."""
    checks = sorted(found.checks, key=lambda check: _ORDER.index(check.verdict))
    rows: list[tuple[Text, ...]] = [
        (
            check.name,
            _STATES[check.verdict],
            figure(check.value),
            figure(check.threshold),
            Sentence(check.detail if verbose or check.verdict != "pass" else ""),
        )
        for check in checks
    ]
    rows += [(name, say("– not run"), "", "", Sentence(why)) for name, why in found.not_run.items()]
    headers: list[Text] = [say("check"), "", say("value"), say("limit"), say("what it means")]
    terminal.table(rows, headers, right=headers[2:4], note=True)
    line()
    if found.report:
        line(say("report: {path}", path=found.report))
    passed = sum(check.verdict == "pass" for check in found.checks)
    words = "verdict: {verdict} ({passed} of {checks})"
    line(
        say(
            words, verdict=_VERDICTS[found.verdict], passed=passed, checks=counted(len(found.checks), "check")
        )
    )
