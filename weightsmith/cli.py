"""The door: click commands, a few lines each; nothing is decided here."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from weightsmith import __version__, render
from weightsmith.errors import WeightsmithError

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
@_JSON
def infer_config(
    checkpoint: Path,
    config_file: Path | None,
    model_type: str | None,
    write: bool,
    output: Path | None,
    as_json: bool,
) -> int:
    """Derive the true config from the weights and compare it with config.json.

    Exit code 0: it agrees (or was written), 1: it differs, 2: no family fits.
    """
    from weightsmith.checkpoint import open_checkpoint
    from weightsmith.shapes import find_config, infer, write_config

    if write and output:
        raise click.UsageError("--write and --output exclude each other")
    table = open_checkpoint(checkpoint)
    config = find_config(table, config_file)
    inference = infer(table, config.data if config else None, model_type)
    if as_json:
        render.show_json(inference.document())
    else:
        render.show_inference(inference)
    if inference.verdict == "unknown":
        render.say(
            f"error: {checkpoint}: no family of the catalog explains its tensors; name one with --model-type"
        )
        return FAILED
    if write or output:
        render.say(write_config(table, config, inference, output))
        return DONE
    return BAD if inference.verdict == "differs" else DONE


if __name__ == "__main__":
    main()
