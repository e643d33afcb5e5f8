"""The door: click commands, a few lines each; nothing is decided here."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from weightsmith import __version__, render
from weightsmith.errors import WeightsmithError

if TYPE_CHECKING:
    from weightsmith.verify.engine.device import Asked

# Rooms are imported inside the commands: `weightsmith --help` needs neither numpy nor torch.

DONE, BAD, FAILED = 0, 1, 2
_CHECKPOINT = click.argument("checkpoint", metavar="CKPT", type=click.Path(path_type=Path))
_JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON document instead of tables.")


def main() -> None:
    """Runs the command line: never a traceback for the user, unless WEIGHTSMITH_DEBUG=1."""
    try:
        code = commands.main(standalone_mode=False)
        sys.stdout.flush()
    except click.ClickException as error:
        error.show()
        code = FAILED
    except (click.Abort, KeyboardInterrupt):
        render.say("error: interrupted; nothing half-done was left behind")
        code = FAILED
    except BrokenPipeError:  # the reader of a pipe went away: `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = FAILED
    except WeightsmithError as error:
        _debug()
        render.say(f"error: {error}")
        code = FAILED
    except Exception as error:
        _debug()
        kind = type(error).__name__
        render.say(
            f"error: weightsmith itself: {kind}: {error}; set WEIGHTSMITH_DEBUG=1 and report the traceback"
        )
        code = FAILED
    sys.exit(code if isinstance(code, int) else DONE)


def _debug() -> None:
    if os.environ.get("WEIGHTSMITH_DEBUG") == "1":
        raise  # only called while an exception is handled


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, message="%(version)s")
def commands() -> None:
    """Is a model really what it says it is, and does it really run right here?"""


@commands.command("infer-config")
@_CHECKPOINT
@click.option(
    "--config", "config_file", type=click.Path(path_type=Path), help="Check this file, not CKPT's own."
)
@click.option("--model-type", help="The family to read the tensors as; found by itself when not given.")
@click.option(
    "--write", is_flag=True, help="Replace config.json by the corrected one; the old one becomes .bak."
)
@click.option("--output", type=click.Path(path_type=Path), help="Write the corrected config here instead.")
@click.option("--learn", is_flag=True, help="Learn the family from transformers when the catalog lacks it.")
@click.option(
    "--check", is_flag=True, help="Let transformers build the corrected config, and compare it all."
)
@click.option("--trust-remote-code", is_flag=True, help="--learn and --check may run code that lies in CKPT.")
@_JSON
def infer_config(
    checkpoint: Path,
    config_file: Path | None,
    model_type: str | None,
    write: bool,
    output: Path | None,
    learn: bool,
    check: bool,
    trust_remote_code: bool,
    as_json: bool,
) -> int:
    """Derive the true config from the weights and compare it with config.json.

    Exit code 0: it agrees (or was written), 1: it differs (or --check refutes it), 2: no family fits.
    """
    from weightsmith.checkpoint import open_checkpoint
    from weightsmith.shapes import find_config, infer, write_config
    from weightsmith.shapes.learn import missing_page
    from weightsmith.shapes.reference import proof

    if write and output:
        raise click.UsageError("--write and --output exclude each other")
    if trust_remote_code and not (learn or check):
        raise click.UsageError("--trust-remote-code is for --learn and --check; nothing else runs code")
    table = open_checkpoint(checkpoint)
    config = find_config(table, config_file)
    stated = config.data if config else None
    page = missing_page(model_type, stated or {}, table.root, trust_code=trust_remote_code) if learn else None
    inference = infer(table, stated, model_type, page)
    known = inference.verdict != "unknown"
    proven = proof.check(inference.config, table, trust_code=trust_remote_code) if check and known else None
    render.show_inference(inference, page, proven, as_json=as_json)
    if inference.verdict == "unknown":
        nearest = f" (nearest: {inference.nearest[0]})" if inference.nearest else ""
        what = f"no family of the catalog explains its tensors{nearest}"
        way_out = next(
            (p.message for p in inference.problems if p.code == "adapter"), "name one with --model-type"
        )
        render.say(f"error: {checkpoint}: {what}; {way_out}")
        return FAILED
    if proven is not None and not proven.holds:
        if write or output:
            render.say("nothing was written: --check refutes the corrected config")
        return BAD
    if write or output:
        render.say(write_config(table, config, inference, output))
        return DONE
    return BAD if inference.verdict == "differs" else DONE


class _ValuesAlone(click.Command):
    """Reads `--values` without a value as `--values=full`; click would take the argument behind it for one."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        return super().parse_args(ctx, ["--values=full" if arg == "--values" else arg for arg in args])


@commands.command("inspect", cls=_ValuesAlone)
@_CHECKPOINT
@click.option(
    "--values",
    metavar="[=full|sample]",
    type=click.Choice(["full", "sample"]),
    help="Read every number, or a sample of each tensor: fusion state, group size, damage.",
)
@click.option(
    "--hashes", is_flag=True, help="Hash what `convert` wrote again, and compare with weightsmith.json."
)
@_JSON
def inspect(checkpoint: Path, values: Literal["full", "sample"] | None, hashes: bool, as_json: bool) -> int:
    """Show what is in a checkpoint: tensors, dtypes, sizes, layout, quantization, fusion state, damage.

    Exit code 1: with --hashes, a file is no longer what was written.
    """
    from weightsmith.checkpoint import open_checkpoint
    from weightsmith.convert.finish.hash_check import EXTRA, SAME, check_hashes
    from weightsmith.values import inspection

    verdicts = check_hashes(checkpoint) if hashes else None
    table = open_checkpoint(checkpoint)
    found = inspection.inspect(table, values=values, progress=render.progress_bar("reading"))
    render.show_inspection(found, verdicts, as_json=as_json)
    return DONE if all(verdict in (SAME, EXTRA) for _, verdict in verdicts or ()) else BAD


@commands.command("diff")
@click.argument("a", type=click.Path(path_type=Path))
@click.argument("b", type=click.Path(path_type=Path))
@_JSON
def diff(a: Path, b: Path, as_json: bool) -> int:
    """Compare two checkpoints tensor by tensor. Exit code 0: identical or equal, 1: they differ."""
    from weightsmith.checkpoint import open_checkpoint
    from weightsmith.values.diff import diff as compare

    found = compare(open_checkpoint(a), open_checkpoint(b), render.progress_bar("comparing"))
    render.show_difference(found, as_json=as_json)
    return BAD if found.verdict == "differs" else DONE


@commands.command("convert")
@click.argument("source", metavar="SRC", type=click.Path(path_type=Path))
@click.argument("target", metavar="DST", type=click.Path(path_type=Path))
@click.option("--converter", metavar="NAME", help="Found from the evidence when not named.")
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
@click.option("--dry-run", is_flag=True, help="Plan and check, write nothing.")
@_JSON
def convert(
    source: Path,
    target: Path,
    converter: str | None,
    options: tuple[str, ...],
    dtype: str | None,
    max_shard_size: str,
    workers: int | None,
    hash_name: str,
    resume: bool,
    dry_run: bool,
    as_json: bool,
) -> int:
    """Write DST, checked safetensors with a corrected config, from the checkpoint SRC."""
    from weightsmith.convert import convert as run

    found = run(
        source,
        target,
        converter=converter,
        options=_pairs("--set", options),
        dtype=dtype,
        max_shard_size=max_shard_size,
        workers=workers,
        hash_name=hash_name,
        dry_run=dry_run,
        resume=resume,
        progress=render.progress_bar("converting"),
    )
    render.show_conversion(found, as_json=as_json)
    return DONE


def _pairs(flag: str, options: tuple[str, ...]) -> dict[str, str]:
    pairs = {}
    for option in options:
        key, equals, value = option.partition("=")
        if not (key and equals):
            raise click.UsageError(f"{flag} {option!r} is not NAME=VALUE")
        pairs[key] = value
    return pairs


def _limits(gates: tuple[str, ...]) -> dict[str, float]:
    try:
        return {name: float(value) for name, value in _pairs("--gate", gates).items()}
    except ValueError as error:
        raise click.UsageError(f"--gate: {error}") from error


@commands.command("verify-on-npu")
@click.argument("model", required=False, type=click.Path(path_type=Path))
@click.option(
    "--device", type=click.Choice(["auto", "npu", "cuda", "cpu"]), default="auto", show_default=True
)
@click.option(
    "--reference", metavar="hf|FILE|none", default="hf", show_default=True, help="What to compare with."
)
@click.option(
    "--prompts", type=click.Path(path_type=Path), help="JSON lines that replace the built-in prompts."
)
@click.option(
    "--save-baseline", type=click.Path(path_type=Path), help="Keep tokens and log-probabilities for later."
)
@click.option("--report", type=click.Path(path_type=Path), help="Write a Markdown report here.")
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
    type=click.Path(path_type=Path),
    help="The latent weights that MODEL was fused from: a control that must fail. Found by itself beside MODEL.",
)
@click.option("--no-cache", is_flag=True, help="Compute every reference anew and keep none.")
@click.option(
    "--self-test", is_flag=True, help="No MODEL: prove this machine with a tiny HRM-Text of our own."
)
@_JSON
def verify_on_npu(
    model: Path | None,
    device: Asked,
    reference: str,
    prompts: Path | None,
    save_baseline: Path | None,
    report: Path | None,
    gates: tuple[str, ...],
    engine_timeout: float,
    latent: Path | None,
    no_cache: bool,
    self_test: bool,
    as_json: bool,
) -> int:
    """Load MODEL in vLLM, smoke-test it and measure it against a reference. Exit code 0: pass, 1: anything else."""
    from weightsmith.process.targets import need_writable
    from weightsmith.report import verification
    from weightsmith.verify import Options, verify
    from weightsmith.verify.selftest.selftest import self_test as prove_machine

    if self_test == (model is not None):
        raise click.UsageError("name a MODEL, or --self-test and none")

    options = Options(
        device=device,
        reference=reference if reference in ("hf", "none") else Path(reference),
        prompts=prompts,
        save_baseline=save_baseline,
        gates=_limits(gates),
        engine_timeout=engine_timeout,
        latent=latent,
        cache=not no_cache,
        command=" ".join(["weightsmith", *sys.argv[1:]]),
    )
    if report is not None:
        need_writable(report)
    with render.stages() as tell:
        result = prove_machine(device, tell) if model is None else verify(model, options, tell)
    if report is not None and model is not None:
        result = verification.write(result, report)
    render.show_verification(result, as_json=as_json)
    return DONE if result.verdict == "pass" else BAD


@commands.command("doctor")
@_JSON
def doctor(as_json: bool) -> int:
    """What is wrong with this machine's NPU stack, and the command that mends it. Exit code 1: something is."""
    from weightsmith.machine import diagnose, look

    with render.stages() as tell:
        tell("importing torch and vLLM, each in a process of its own")
        diagnosis = diagnose(look())
    render.show_diagnosis(diagnosis, as_json=as_json)
    return DONE if diagnosis.healthy else BAD


if __name__ == "__main__":
    main()
