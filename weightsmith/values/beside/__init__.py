"""What travels beside the weights and bears on whoever loads them: code, licence, generation settings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from weightsmith.values.beside.code import NO_CODE, Code, code_in
from weightsmith.values.beside.generation import GenerationSetting, generation_settings
from weightsmith.values.beside.licence import Licence, licence_of

if TYPE_CHECKING:
    from weightsmith.checkpoint import Checkpoint

__all__ = ["NOTHING", "Beside", "Code", "GenerationSetting", "Licence", "beside"]


@dataclass(frozen=True, slots=True)
class Beside:
    """licence: None where no file names one. generation: what config.json does not say, or says otherwise."""

    code: Code
    licence: Licence | None
    generation: tuple[GenerationSetting, ...]


# Of a checkpoint that was not looked at.
NOTHING = Beside(NO_CODE, None, ())


def beside(checkpoint: Checkpoint) -> Beside:
    """Reads files of the checkpoint's folder, as text. One that cannot be read says nothing, or is named as unread."""
    return Beside(code_in(checkpoint.root), licence_of(checkpoint.root), generation_settings(checkpoint))
