"""Prints how often fits and the engines agree; exit 1 below the goals.

python -m benchmarks.fits                  what was recorded
python -m benchmarks.fits --models FOLDER  makes the small checkpoints there, for ask_caches.py
python -m benchmarks.fits --configs FOLDER writes the published configs there, for ask_configs.py and ask_ascend.py
python -m benchmarks.fits --described FOLDER writes a description of each scheme there, for ask_ascend.py
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections import Counter
from pathlib import Path

from tabulate import tabulate

from benchmarks.fits import agreement, described
from benchmarks.fits.models import MODELS, keep, kept, make
from benchmarks.published.models import groups, read_group

_GOAL = 0.98


def main() -> int:
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--models", type=Path)
    options.add_argument("--configs", type=Path)
    options.add_argument("--described", type=Path)
    given = options.parse_args()
    if given.models is not None:
        for name in MODELS:
            make(name, given.models)
        keep(given.models)
        return 0
    if given.configs is not None:
        _write_configs(given.configs)
        return 0
    if given.described is not None:
        for name in described.names():
            described.make(name, given.described)
        return 0
    return 0 if _loading() & _holding() else 1


def _write_configs(folder: Path) -> None:
    for group in groups():
        for model in read_group(group):
            own = folder / model.name.replace("/", "--", 1)
            own.mkdir(parents=True)
            (own / "config.json").write_text(json.dumps(model.config), encoding="utf-8")


def _loading() -> bool:
    rows, all_right, all_asked = [], 0, 0
    told = [(engine, list(agreement.pairs(engine))) for engine in agreement.engines()]
    told += [
        (f"{engine}, schemes", list(agreement.described_pairs(engine))) for engine in agreement.describers()
    ]
    for engine, pairs in told:
        cases = Counter(pair.case for pair in pairs)
        asked = len(pairs) - cases["unanswered"]
        all_right, all_asked = all_right + cases["right"], all_asked + asked
        rows.append([engine, asked, cases["right"], cases["wrong"], cases["open"], cases["unanswered"]])
        for pair in pairs:
            if pair.case == "wrong":
                print(
                    f"wrong on {engine}: {pair.model}: fits says {', '.join(pair.why) or 'loads'}; {pair.error[:90]}"
                )
    heads = ["engine", "pairs", "right", "wrong", "not known", "engine could not say"]
    print(f"\n{tabulate(rows, heads)}\n")
    return all_right >= _GOAL * all_asked


def _holding() -> bool:
    rows = []
    with tempfile.TemporaryDirectory() as work:
        folders: dict[str, Path] = {}
        for version, said in agreement.recorded():
            name = str(said["model"])
            if "error" in said:
                rows.append([version, name, said["cards"], "engine refused it", "", "", True])
                continue
            folder = folders.get(name) or folders.setdefault(name, kept(name, Path(work)))
            one = agreement.held(version, said, folder)
            cells = [f"{real} / {own}" for real, own in (one.blocks, one.weights)]
            rows.append([version, name, one.cards, *cells, "yes" if one.right else "NO", one.right])
    heads = ["vLLM", "model", "cards", "blocks: real / fits", "bytes of weights: real / fits", "same"]
    print(tabulate([row[:-1] for row in rows], heads))
    return all(row[-1] for row in rows)


if __name__ == "__main__":
    sys.exit(main())
