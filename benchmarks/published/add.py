"""Adds a model: `python -m benchmarks.published.add FILE --name OWNER/MODEL --source WHERE --group GROUP`."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.published.models import FOLDER, groups, read_group

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None, folder: Path = FOLDER) -> int:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("file", type=Path, help="the config.json as its publisher wrote it")
    options.add_argument("--name", required=True, help="owner/model")
    options.add_argument("--source", required=True, help="where the config was found")
    options.add_argument("--group", required=True, choices=groups())
    options.add_argument("--notes", default="", help="in what it differs from the publisher's file")
    given = options.parse_args(arguments)
    config = json.loads(given.file.read_text(encoding="utf-8"))
    if not isinstance(config, dict) or not isinstance(config.get("model_type"), str):
        print(f"{given.file} names no model_type", file=sys.stderr)
        return 1
    if given.name in {model.name for group in groups() for model in read_group(group, folder)}:
        print(f"{given.name} is there already", file=sys.stderr)
        return 1
    line = {"name": given.name, "source": given.source, "config": config, "notes": given.notes}
    text = json.dumps(
        {key: value for key, value in line.items() if value}, ensure_ascii=False, separators=(",", ":")
    )
    with (folder / f"{given.group}.jsonl").open("a", encoding="utf-8") as file:
        file.write(f"{text}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
