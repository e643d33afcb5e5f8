"""What a command's exit code and document say against a model, read as a script would read them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from benchmarks.faults.case import Finding

if TYPE_CHECKING:
    from benchmarks.faults.case import Witness
    from benchmarks.faults.command_line import Done

# Checks of verify-on-npu that repeat what the first two witnesses say.
_WITNESS_OF_CHECK: dict[str, Witness] = {"config": "shapes", "weights": "values"}


def read(command: str, done: Done) -> list[Finding]:
    """Every finding of one command line, the most severe first. command: as the table shows it."""
    name = command.split()[0]
    if not done.document or "error" in done.document:
        words = next(
            (e for e in reversed(done.errors) if e.startswith("error: ")), " ".join(done.errors[-1:])
        )
        witness: Witness = (
            "values" if name == "convert" else "behaviour" if name == "verify-on-npu" else "reader"
        )
        return [Finding(command, witness, f"exit {done.code}", words.removeprefix("error: "))]
    match name:
        case "infer-config":
            return _inference(command, done)
        case "inspect":
            return _inspection(command, done.document)
        case "diff":
            return _difference(command, done)
        case "verify-on-npu":
            return _verification(command, done)
    return []


def _inference(command: str, done: Done) -> list[Finding]:
    how, document = f"exit {done.code}", done.document
    found = []
    if document["verdict"] == "unknown":
        words = "; ".join(done.errors[-1:]).removeprefix("error: ")
        found.append(Finding(command, "shapes", how, words))
    for field in document["fields"]:
        if field["status"] in {"differs", "missing"}:
            found.append(Finding(command, "shapes", how, _field(field)))
    missing = document["architecture"]["missing_tensors"]
    if missing and not found:
        found.append(Finding(command, "shapes", how, f"missing tensors: {', '.join(missing[:3])}"))
    found += [
        Finding(command, "shapes", f"exit {done.code}, problem", f"{p['code']}: {p['message']}")
        for p in document["problems"]
    ]
    if done.code and not found:
        found.append(Finding(command, "shapes", how, document["verdict"]))
    return found


def _field(field: dict[str, Any]) -> str:
    said = "absent" if field["configured"] is None else field["configured"]
    words = f"{field['name']} is {field['derived']}, not {said}"
    if not field["evidence"]:
        return words
    proof = field["evidence"][0]
    size = "" if proof.get("size") is None else f" has {proof['size']}"
    return f"{words} ({proof['tensor']}{size}: {proof['equation']})"


def _inspection(command: str, document: dict[str, Any]) -> list[Finding]:
    found = [
        Finding(command, "values", "exit 0, damage", f"{fault['tensor']} {fault['what']}")
        for fault in document["damage"]
    ]
    fusion = document["fusion"]
    if fusion["state"] in {"latent", "mixed"}:
        words = f"ternary fusion: {fusion['state']}, {fusion['tensors_checked']} linear tensors checked"
        found.append(Finding(command, "values", f"exit 0, {fusion['state']}", words))
    return found


def _difference(command: str, done: Done) -> list[Finding]:
    if not done.code:
        return []
    how = f"exit {done.code}"
    found = [
        Finding(command, "values", how, f"{t['name']}: {t['mismatched']} of {t['elements']} elements differ")
        for t in done.document["tensors"]
        if t["status"] == "differs"
    ]
    lone = [*done.document["only_in_a"], *done.document["only_in_b"]]
    return found + [Finding(command, "values", how, f"{name} is in one of the two only") for name in lone]


def _verification(command: str, done: Done) -> list[Finding]:
    bad = [check for check in done.document["checks"] if check["verdict"] != "pass"]
    bad.sort(key=lambda check: check["verdict"] != "fail")
    return [
        Finding(
            command,
            _WITNESS_OF_CHECK.get(check["name"], "behaviour"),
            f"exit {done.code}" if check["verdict"] == "fail" else "inconclusive",
            f"{check['name']}: {check['detail']}",
        )
        for check in bad
    ]
