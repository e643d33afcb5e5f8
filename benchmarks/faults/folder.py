"""How a model's folder is made wrong: functions that return the change, so that a fault is one line of data."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from torch import Tensor

    Change = Callable[[Path], None]

ABSENT: Any = object()
WEIGHTS = "model.safetensors"


def json_of(name: str, **changes: Any) -> Change:
    """Sets fields of a JSON file of the folder; ABSENT takes one away, `a__b` is field b of the object a."""

    def change(folder: Path) -> None:
        path = folder / name
        data = json.loads(path.read_text(encoding="utf-8"))
        for dotted, value in changes.items():
            *owners, key = dotted.split("__")
            owner = data
            for part in owners:
                owner = owner[part]
            if value is ABSENT:
                del owner[key]
            else:
                owner[key] = value
        path.write_text(json.dumps(data, indent=2, ensure_ascii=False), encoding="utf-8")

    return change


def config(**changes: Any) -> Change:
    return json_of("config.json", **changes)


def weights(alter: Callable[[dict[str, Tensor]], None]) -> Change:
    """Loads all tensors, lets `alter` work on them in place, writes them back."""

    def change(folder: Path) -> None:
        from safetensors.torch import load_file

        tensors = load_file(folder / WEIGHTS)
        alter(tensors)
        save(tensors, folder / WEIGHTS)

    return change


def save(tensors: dict[str, Tensor], path: Path) -> None:
    """Own memory for every tensor: safetensors refuses views."""
    from safetensors.torch import save_file

    save_file({name: t.clone().contiguous() for name, t in tensors.items()}, path, {"format": "pt"})


def shards(tensors: dict[str, Tensor], folder: Path, count: int) -> None:
    """Writes tensors as `count` shards with their index, in the place of the single file."""
    names = sorted(tensors)
    files = [f"model-{n + 1:05}-of-{count:05}.safetensors" for n in range(count)]
    place = {name: files[n * count // len(names)] for n, name in enumerate(names)}
    for file in files:
        save({name: tensors[name] for name in names if place[name] == file}, folder / file)
    size = sum(t.nbytes for t in tensors.values())
    index = {"metadata": {"total_size": size}, "weight_map": place}
    (folder / f"{WEIGHTS}.index.json").write_text(json.dumps(index, indent=2), encoding="utf-8")
    (folder / WEIGHTS).unlink(missing_ok=True)


def sharded(count: int) -> Change:
    def change(folder: Path) -> None:
        from safetensors.torch import load_file

        shards(load_file(folder / WEIGHTS), folder, count)

    return change


def cut(name: str, share: float) -> Change:
    """Keeps the first `share` of a file's bytes, as a broken download does."""

    def change(folder: Path) -> None:
        path = folder / name
        data = path.read_bytes()
        path.write_bytes(data[: int(len(data) * share)])

    return change


def without(*names: str) -> Change:
    def change(folder: Path) -> None:
        for name in names:
            (folder / name).unlink()

    return change


def text(name: str, content: str) -> Change:
    def change(folder: Path) -> None:
        (folder / name).write_text(content, encoding="utf-8")

    return change


def both(*changes: Change) -> Change:
    """One fault after another, where a lie takes two files."""

    def change(folder: Path) -> None:
        for one in changes:
            one(folder)

    return change
