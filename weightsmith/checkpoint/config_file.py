"""The config.json of a checkpoint: beside its weights, or above the folder of a training step."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from weightsmith.checkpoint.json_file import CONFIG_FILE, read_json_object
from weightsmith.checkpoint.small_file import is_there, read_small
from weightsmith.errors import WeightsmithError

if TYPE_CHECKING:
    from weightsmith.checkpoint.place import Place
    from weightsmith.checkpoint.table import Checkpoint
    from weightsmith.json_value import Json


CONFIG = "config.json"
# DeepSpeed saves the weights of a step in a folder of its own, and the trainer its config one folder above.
_STEP_FOLDER = re.compile(r"global_step[0-9]+")


def config_path(checkpoint: Checkpoint) -> Place | None:
    """Where the checkpoint's config is; None where it has none. A link that leads nowhere is a config that is lost."""
    own = checkpoint.root / CONFIG
    if is_there(own):
        return own
    run = checkpoint.run
    return run.beside / CONFIG if run is not None and run.beside is not None else config_above(checkpoint)


def config_above(checkpoint: Checkpoint) -> Place | None:
    """The config of a training run for the weights of one of its steps, which have none of their own; else None."""
    root = checkpoint.root.resolve()
    above = root.parent / CONFIG
    alone = _STEP_FOLDER.fullmatch(root.name) and not is_there(root / CONFIG)
    return above if alone and is_there(above) else None


def config_beside(checkpoint: Checkpoint) -> dict[str, Json] | None:
    """The checkpoint's config; None where it has none. Raises InvalidConfig for one that cannot be read."""
    if checkpoint.config is not None:
        return dict(checkpoint.config)
    path = config_path(checkpoint)
    return None if path is None else read_json_object(path, CONFIG_FILE)


def readable_config(checkpoint: Checkpoint) -> dict[str, Json] | None:
    """The same for what looks at the weights alone: None, too, where the file cannot be read."""
    try:
        return config_beside(checkpoint)
    except WeightsmithError:
        return None


def setting_in(config: Place, name: str) -> Json:
    """One setting of a config; None where it has it not, which nearly all show without being parsed.

    Raises what `read_json_object` raises.
    """
    raw = read_small(config, CONFIG_FILE.bytes)
    if name.encode() not in raw and b"\\u" not in raw:  # a letter may be written as an escape
        return None
    return read_json_object(config, CONFIG_FILE).get(name)
