"""The JSON Schemas of all documents that commands print, made of their types."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from weightsmith import documents
from weightsmith.errors import Usage
from weightsmith.json_schema import schema_of
from weightsmith.report.document import Document

if TYPE_CHECKING:
    from collections.abc import Mapping

    from weightsmith.json_value import JsonObject

# `doctor --compare` and `verify-on-npu --print-command` print other documents than their commands do.
# Of several checkpoints infer-config and inspect print a list, with the error of one that cannot be read at its place.
KINDS: Mapping[str, object] = {
    "check": documents.CheckDocument,
    "convert": documents.ConvertDocument,
    "diff": documents.DiffDocument,
    "doctor": documents.DoctorDocument | documents.ComparisonDocument,
    "error": documents.ErrorDocument,
    "fits": documents.FitsDocument,
    "infer-config": documents.InferConfigDocument
    | Sequence[documents.InferConfigDocument | documents.ErrorDocument],
    "inspect": documents.InspectDocument | Sequence[documents.InspectDocument | documents.ErrorDocument],
    "report": documents.ReportDocument,
    "verify-on-npu": Document | documents.CommandsDocument,
}


def schema(command: str) -> JsonObject:
    """The schema of a command's document. Raises Usage for a command that prints none."""
    if command not in KINDS:
        raise Usage(command, "prints no JSON document", f"choose from {', '.join(KINDS)}")
    return schema_of(KINDS[command], f"weightsmith {command} --json")
