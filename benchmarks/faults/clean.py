"""Sound models in the forms that people hand around; none of them deserves a word against it."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

from benchmarks.faults import models as sound
from benchmarks.faults.case import Clean
from benchmarks.faults.command_line import weightsmith
from benchmarks.faults.folder import ABSENT, WEIGHTS, both, config, save, sharded, text
from benchmarks.faults.serving import CALM, RANKS, SHORT, SPECULATIVE, TWO_RANKS

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from benchmarks.faults.case import Model
    from benchmarks.faults.folder import Change


def _copy(name: str, model: Model, change: Change | None = None, *left_out: str) -> Clean:
    """A copy, with something about it that is unusual and right."""

    def make(models: Path, target: Path) -> None:
        shutil.copytree(sound.make(model, models), target)
        if change is not None:
            change(target)

    return Clean(name, make, left_out=left_out)


def _served(name: str, model: Model, options: tuple[str, ...], environment: Mapping[str, str]) -> Clean:
    """The model as it is, in an engine that is asked for more."""

    def make(models: Path, target: Path) -> None:
        shutil.copytree(sound.make(model, models), target)

    return Clean(name, make, environment, options=options)


def _converted(name: str, model: Model, *options: str, **environment: str) -> Clean:
    """What `weightsmith convert` makes of it."""

    def make(models: Path, target: Path) -> None:
        source = sound.make(model, models)
        done = weightsmith(["convert", str(source), str(target), *options], models)
        if done.code:
            raise RuntimeError(f"convert: {' '.join(done.errors[-1:])}")

    return Clean(name, make, environment)


def _torch_file(legacy: bool) -> Change:
    """pytorch_model.bin instead of safetensors; legacy: as torch wrote it before 1.6."""

    def change(folder: Path) -> None:
        import torch
        from safetensors.torch import load_file

        target = folder / "pytorch_model.bin"
        torch.save(load_file(folder / WEIGHTS), target, _use_new_zipfile_serialization=not legacy)
        (folder / WEIGHTS).unlink()

    return change


def _written_head(folder: Path) -> None:
    from safetensors.torch import load_file

    tensors = load_file(folder / WEIGHTS)
    save({**tensors, "lm_head.weight": tensors["model.embed_tokens.weight"]}, folder / WEIGHTS)


def _side_files(folder: Path) -> None:
    """What repositories carry beside a model, a pickle that is none of its weights included."""
    import torch

    torch.save({"learning_rate": 3e-3}, folder / "training_args.bin")
    for name in (".gitattributes", "LICENSE", "chat_template.jinja", "merges.txt.old"):
        (folder / name).write_text("kept for the record\n", encoding="utf-8")
    (folder / "trainer_state.json").write_text('{"global_step": 1800}\n', encoding="utf-8")
    (folder / "figures").mkdir()
    (folder / "figures" / "loss.svg").write_text("<svg/>\n", encoding="utf-8")


def _reordered(folder: Path) -> None:
    """The config's keys in another order, with a field of somebody's own."""
    path = folder / "config.json"
    data = json.loads(path.read_text(encoding="utf-8"))
    mixed = {key: data[key] for key in sorted(data, reverse=True)}
    path.write_text(json.dumps({"_comment": "mine", **mixed}), encoding="utf-8")


CLEAN: tuple[Clean, ...] = (
    _copy("ternary Llama, fused", "fused"),
    _copy("HRM-Text as trained (fused layout)", "hrm"),
    # vLLM's own class (0.32) reads the fused layout only; weightsmith's adapter reads both.
    _converted(
        "HRM-Text, split layout, served by the adapter",
        "hrm",
        "--converter",
        "hrm-text",
        "--set",
        "layout=split",
        WEIGHTSMITH_HRM_TEXT="adapter",
    ),
    _copy("three shards with an index", "fused", sharded(3)),
    _copy("torch file (zip)", "fused", _torch_file(legacy=False)),
    _copy("torch file (before 1.6)", "fused", _torch_file(legacy=True)),
    _converted("ternary Llama in float32", "fused", "--converter", "plain", "--dtype", "float32"),
    _converted("HRM-Text in float32", "hrm", "--converter", "plain", "--dtype", "float32"),
    _copy("tied, the head left out", "tied"),
    _copy("tied, the head written too", "tied", _written_head, "lm_head.weight"),
    # On machines with AMX vLLM's int4 kernel rounds the activations to int8 unless told not to: 18 x bf16's own noise.
    _converted(
        "packed int4 without loss, activations left alone",
        "latent",
        "--set",
        "pack=int4",
        VLLM_CPU_INT4_W4A8="0",
    ),
    _copy("side files of every kind", "fused", _side_files),
    _copy(
        "defaults left out of the config",
        "fused",
        both(config(attention_bias=ABSENT, mlp_bias=ABSENT, tie_word_embeddings=ABSENT), _reordered),
    ),
    _copy(
        "two end tokens for generation",
        "hrm",
        text("generation_config.json", '{"eos_token_id": [263, 256], "pad_token_id": 256}'),
    ),
    _served("drafts from n-grams", "fused", (*SHORT, *SPECULATIVE), CALM),
    _served("two ranks", "fused", (*SHORT, *TWO_RANKS), RANKS),
    _served("packed int8, its scales in the file", "packed", SHORT, {}),
    _served("a chat template, served over HTTP", "chat", (*SHORT, "--serve"), {}),
    _served("no reference (ternary Llama)", "fused", (*SHORT, "--reference", "none"), {}),
    _served("no reference (HRM-Text)", "hrm", (*SHORT, "--reference", "none"), {}),
)
