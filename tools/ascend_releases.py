"""Writes weightsmith/machine/releases.json: which versions belong together, for every published vllm-ascend.

    python tools/ascend_releases.py --vllm-ascend CLONE --torch-npu CLONE --archives FOLDER

CLONE: git clones of vllm-project/vllm-ascend (with its tags) and of Ascend/pytorch. FOLDER: source archives of those
releases whose tags the clone lacks, as `pip download --no-deps --no-binary :all: vllm-ascend==X` fetches them.

Each fact is read where its makers state it: the compatibility matrix (docs/.../versioning_policy.md), the requirements
that become the wheel's METADATA (requirements.txt, PKG-INFO), and the Dockerfiles of the official images. Where these
differ, all are kept: an image is a release, too.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import tarfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from packaging.version import Version

if TYPE_CHECKING:
    from collections.abc import Iterator

TARGET = Path(__file__).parents[1] / "weightsmith/machine/releases.json"
POLICY = "docs/source/{0}/versioning_policy.md"
PARTNERS = ("torch", "torch-npu", "torchvision", "torchaudio", "transformers", "numpy", "triton-ascend")
# Dockerfile -> the family of chips that its image is built for, as `vllm_ascend/_build_info.py` calls it.
IMAGES = {"Dockerfile": "A2", "Dockerfile.a3": "A3", "Dockerfile.310p": "310P", "Dockerfile.a5": "A5"}


class Source(Protocol):
    """The files of one release. date: of its making, YYYY-MM-DD."""

    date: str

    def text(self, path: str) -> str: ...


class Tag:
    """A release as a tag or a branch of a clone."""

    def __init__(self, clone: Path, name: str) -> None:
        self.clone, self.name = clone, name
        self.date = git(clone, "log", "-1", "--format=%cs", name).strip()

    def text(self, path: str) -> str:
        done = subprocess.run(
            ["git", "-C", str(self.clone), "show", f"{self.name}:{path}"], capture_output=True, text=True
        )
        return "" if done.returncode else done.stdout


class Archive:
    """A release as its source archive."""

    def __init__(self, path: Path) -> None:
        with tarfile.open(path) as archive:
            wanted = [
                m for m in archive if re.search(r"Dockerfile|PKG-INFO|policy\.md$|requirements\.txt$", m.name)
            ]
            self.files = {
                m.name.partition("/")[2]: archive.extractfile(m).read().decode()  # type: ignore[union-attr]
                for m in wanted
                if m.isfile()
            }
            self.date = time.strftime("%Y-%m-%d", time.gmtime(max(m.mtime for m in wanted)))

    def text(self, path: str) -> str:
        return self.files.get(path, "")


def git(clone: Path, *arguments: str) -> str:
    return subprocess.run(
        ["git", "-C", str(clone), *arguments], capture_output=True, text=True, check=True
    ).stdout


def cann_version(text: str) -> str:
    """`8.2.rc1` and `9.2.0_20260930` of an image's tag as CANN itself writes them: 8.2.RC1, 9.2.0."""
    return text.partition("_")[0].upper()


def matrix(source: Source) -> dict[str, dict[str, str]]:
    """Release → its row: vllm, python, cann, torch, torch_npu, triton_ascend (where the table has that column)."""
    rows = {}
    text = source.text(POLICY.format("community")) or source.text(POLICY.format("developer_guide"))
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if len(cells) < 5 or not re.fullmatch(r"v\d[\w.]*", cells[0]) or "/" not in cells[4]:
            continue
        torch, _, torch_npu = (part.strip() for part in cells[4].partition("/"))
        row = {"vllm": cells[1], "python": cells[2], "cann": cells[3], "torch": torch, "torch_npu": torch_npu}
        if len(cells) > 5 and re.match(r"\d", cells[5]):
            row["triton_ascend"] = cells[5]
        rows[cells[0].removeprefix("v")] = row
    return rows


def requirements(source: Source) -> dict[str, str]:
    """Partner → what the release requires of it, such as "==2.10.0"; "" for any version."""
    lines = re.findall(r"^Requires-Dist: (.*)", source.text("PKG-INFO"), re.MULTILINE)
    found = {}
    for line in lines or source.text("requirements.txt").splitlines():
        stated = re.match(r"\s*([A-Za-z][\w-]*)\s*\(?([^;#)]*)", line)
        if stated and (name := stated[1].lower().replace("_", "-")) in PARTNERS:
            found[name] = stated[2].replace(" ", "")
    return found


def image(source: Source) -> dict[str, str]:
    """What the Dockerfile of a release puts under it, as far as it says: cann, torch_npu, triton_ascend."""
    text = source.text("Dockerfile")
    stack = {}
    based = re.search(r"CANN_VERSION=\"?(\d[\w.]*)", text) or re.search(
        r"^FROM \S*cann:(\d[\w.]*)", text, re.MULTILINE
    )
    if based:
        stack["cann"] = cann_version(based[1])
    for name in ("torch_npu", "triton_ascend"):
        pattern = name.replace("_", "[-_]")
        pinned = re.search(rf"{pattern}==(\d[\w.+]*)|{pattern}-(\d[\w.]*?)(?:%2B\w+)?-\$", text)
        if pinned:
            stack[name] = pinned[1] or pinned[2]
    return stack


def python_range(row: dict[str, str], source: Source) -> str:
    stated = row.get("python", "")
    if bounds := re.fullmatch(r"(3\.\d+) - 3\.(\d+)", stated):  # of the first matrices
        return f">={bounds[1]},<3.{int(bounds[2]) + 1}"
    metadata = re.search(r"^Requires-Python: (.*)", source.text("PKG-INFO"), re.MULTILINE) or re.search(
        r'python_requires="(.*)"', source.text("setup.py")
    )
    return stated.replace(" ", "") or (metadata[1] if metadata else "")


def releases(clone: Path, archives: Path) -> Iterator[tuple[str, dict[str, object]]]:
    sources: dict[str, Source] = {tag.removeprefix("v"): Tag(clone, tag) for tag in git(clone, "tag").split()}
    for path in sorted(archives.glob("vllm_ascend-*.tar.gz")):
        sources.setdefault(path.name.removeprefix("vllm_ascend-").removesuffix(".tar.gz"), Archive(path))
    branches = {name.strip(" *") for name in git(clone, "branch", "--list").splitlines()}
    newest = max(sources.values(), key=lambda source: source.date)
    for version, source in sources.items():
        # The newest matrix corrects those of before (the tag v0.23.0 has the row of its candidate).
        row = matrix(newest).get(version) or matrix(source).get(version, {})
        stacks = (
            [{"from": "matrix", **{k: v for k, v in row.items() if k not in ("vllm", "python")}}]
            if row
            else []
        )
        stacks.append({"from": "Dockerfile", **image(source)})
        if (branch := f"releases/v{version}") in branches:
            since = Tag(clone, branch)
            built = {"from": f"Dockerfile of {since.date}", **image(since)}
            if (pin := requirements(since).get("torch-npu", "")).startswith("=="):
                built.setdefault("torch_npu", pin[2:])
            stacks.append(built)
        tag = re.search(r"VLLM_TAG=v(\S+)", source.text("Dockerfile"))
        vllm = [v.removeprefix("v") for v in row["vllm"].split("/")] if row else [tag[1]] if tag else []
        yield (
            version,
            {
                "released": source.date,
                "vllm": vllm,
                "python": python_range(row, source),
                "chips": [family for name, family in IMAGES.items() if source.text(name)],
                "requires": requirements(source),
                "stacks": [dict(pairs) for pairs in dict.fromkeys(tuple(stack.items()) for stack in stacks)],
            },
        )


def torch_npu_builds(clone: Path) -> dict[str, str]:
    """torch_npu → the CANN that it was built for."""
    text = git(clone, "show", "HEAD:COMPATIBILITY.md")
    rows = re.findall(r"^\|\s*(\d[\w.]*)\S*\s*\|[^|]*\|[^|]*\|\s*CANN (\S+)\s*\|", text, re.MULTILINE)
    return dict(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("--vllm-ascend", "--torch-npu", "--archives"):
        parser.add_argument(name, type=Path, required=True)
    given = parser.parse_args()
    rows = dict(sorted(releases(given.vllm_ascend, given.archives), key=lambda pair: Version(pair[0])))
    document = {
        "source": {
            "vllm_ascend": "vllm-project/vllm-ascend: versioning_policy.md, requirements.txt or METADATA, Dockerfiles",
            "torch_npu": "Ascend/pytorch: COMPATIBILITY.md of "
            + git(given.torch_npu, "log", "-1", "--format=%cs").strip(),
            "date": time.strftime("%Y-%m-%d"),
        },
        "vllm_ascend": rows,
        "torch_npu": torch_npu_builds(given.torch_npu),
    }
    TARGET.write_text(json.dumps(document, indent=1) + "\n")
    print(
        f"{len(rows)} releases of vllm-ascend, {len(document['torch_npu'])} builds of torch_npu -> {TARGET}"
    )


if __name__ == "__main__":
    main()
