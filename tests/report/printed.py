"""What every command really prints with --json, from small models, in one process."""

from __future__ import annotations

import io
import json
import shutil
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator

from weightsmith import library
from weightsmith.cli.group import run
from weightsmith.errors import MissingInput
from weightsmith.json_value import encode
from weightsmith.machine.diagnosis import Diagnosis, Finding, resolved
from weightsmith.machine.dump import MachineComparison
from weightsmith.shapes.page.page import load_page
from weightsmith.shapes.reference.proof import BuildDifference, ReferenceProof

MODELS = Path(__file__).parents[1] / "models"
LATENT = MODELS / "ternary-llama"
KEPT = Path(__file__).parent / "kept" / "hrm-text.json"

Document = dict[str, Any]


def need_schema(document: Document) -> None:
    """Fails where a document is not what the schema of its command says, or has a key that it does not know."""
    wrong = Draft202012Validator(library.schema(document["command"])).iter_errors(document)
    deepest = [inner for error in wrong for inner in (*(error.context or ()), error)]
    assert [(list(error.absolute_path), error.message[:200]) for error in deepest] == []


def printed(*arguments: str | Path) -> Document:
    """The one document on stdout."""
    out = io.StringIO()
    with redirect_stdout(out), redirect_stderr(io.StringIO()):
        run([*map(str, arguments), "--json"])
    document: Document = json.loads(out.getvalue())
    return document


def kept(result: library.Result) -> Document:
    """A result that was made by hand, as the command would print it."""
    made = library.document_of(result, command="weightsmith x")
    document: Document = json.loads(encode(made, infinite=("config", "fields")))
    return document


def documents(folder: Path) -> dict[str, list[Document]]:
    """By command: several documents that together have every key there is, but for those of verify-on-npu."""
    made, other = folder / "made", folder / "other"
    found = {"convert": [printed("convert", LATENT, other, "--dry-run"), printed("convert", LATENT, made)]}
    found["infer-config"] = [
        printed("infer-config", LATENT, "--explain"),
        printed("infer-config", made),
        printed("infer-config", _bare(folder, made)),
        kept(_proven()),
        printed("infer-config", LATENT, folder / "absent"),
    ]
    found["inspect"] = [
        printed("inspect", LATENT),
        printed("inspect", made, "--hashes", "--values=sample", "--tensors", "*.0.*norm*"),
        printed("inspect", LATENT, folder / "absent"),
    ]
    found["check"] = [printed("check", LATENT, made, folder / "absent")]
    found["diff"] = [printed("diff", LATENT, made), printed("diff", made, made), _other_shapes(folder, made)]
    chip = ("--chip", "cpu", "--context", "64")
    found["fits"] = [printed("fits", LATENT), printed("fits", made), printed("fits", made, *chip)]
    found["doctor"] = [kept(_diagnosis()), dict(MachineComparison(("a", "b"), (("x", "1", ""),)).document())]
    found["report"] = [printed("report", KEPT, "--output", folder / "report.html")]
    found["error"] = [dict(MissingInput("absent", "does not exist", "name another").document())]
    found["verify-on-npu"] = [
        json.loads(KEPT.read_text(encoding="utf-8")),
        printed("verify-on-npu", MODELS / "hrm-text", "--print-command"),
    ]
    return found


def _proven() -> library.Result:
    """As --learn and --check leave it, with tensors that do not fit."""
    differences = (BuildDifference("a", (1, 2), None), BuildDifference("b", None, (3,)))
    proof = ReferenceProof("transformers 5", "LlamaForCausalLM", 39, differences)
    found = library.infer(LATENT)
    family = replace(found.architecture, missing_tensors=("lost",), unmatched_tensors=("odd",))
    return replace(found, architecture=family, proof=proof, learned=load_page("llama"))


def _bare(folder: Path, model: Path) -> Path:
    """Weights without a config, which leave heads open."""
    (folder / "bare").mkdir()
    shutil.copy(model / "model.safetensors", folder / "bare")
    return folder / "bare"


def _other_shapes(folder: Path, model: Path) -> Document:
    from safetensors.numpy import load_file, save_file

    tensors = load_file(model / "model.safetensors")
    tensors["model.norm.weight"] = tensors["model.norm.weight"][:3]
    tensors["extra"] = tensors.pop("lm_head.weight")
    save_file(tensors, folder / "cut.safetensors")
    return printed("diff", model / "model.safetensors", folder / "cut.safetensors")


def _diagnosis() -> Diagnosis:
    findings = (
        Finding("driver", "fail", "25.1", "25.5", "install it"),
        Finding("torch_npu", "fail", "does not import", may_follow=("driver",)),
        Finding("variables", "warn", "odd", fix="unset X"),
        Finding("python", "ok", "3.11"),
        Finding("chip", "absent", "none"),
    )
    return Diagnosis(resolved(findings), "driver is too old")
