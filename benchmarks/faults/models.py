"""The sound models that the faults are put into, each made once per run in a scratch folder."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.faults import tied_model
from benchmarks.faults.command_line import weightsmith

if TYPE_CHECKING:
    from benchmarks.faults.case import Model

TRAINED = Path(__file__).resolve().parents[2] / "tests" / "models"
# Says what the model was trained on: the bare question.
TEMPLATE = "{{ messages[0]['content'] }}"
PROMPTS = Path(__file__).with_name("prompts.jsonl")


def make(model: Model, models: Path) -> Path:
    """The folder of a sound model under `models`; made when it is not there yet, never changed afterwards."""
    folder = models / model
    if folder.exists():
        return folder
    match model:
        case "handed":
            shutil.copytree(TRAINED / "ternary-llama", folder)
        case "latent":
            shutil.copytree(TRAINED / "ternary-llama", folder)
            shutil.copy(TRAINED / "ternary-llama.true-config.json", folder / "config.json")
        case "fused":
            done = weightsmith(["convert", str(make("latent", models)), str(folder)], models)
            if done.code:
                raise RuntimeError(f"the sound model cannot be converted: {done.errors}")
        case "hrm":
            shutil.copytree(TRAINED / "hrm-text", folder)
        case "packed":
            source = str(make("latent", models))
            done = weightsmith(["convert", source, str(folder), "--set", "pack=int4"], models)
            if done.code:
                raise RuntimeError(f"the sound model cannot be packed: {done.errors}")
        case "chat":
            shutil.copytree(make("fused", models), folder)
            (folder / "chat_template.jinja").write_text(TEMPLATE, encoding="utf-8")
        case "tied":
            tied_model.train(make("latent", models), PROMPTS, folder)
    return folder
