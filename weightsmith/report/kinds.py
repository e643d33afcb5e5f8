"""Which commands a report is made for: told from the document, read by its type, and composed."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, TypeVar

from weightsmith.documents import (
    ConvertDocument,
    DiffDocument,
    DoctorDocument,
    FitsDocument,
    InferConfigDocument,
)
from weightsmith.errors import InvalidConfig
from weightsmith.json_value import finite
from weightsmith.records import NotARecord, read_as
from weightsmith.report import compared, converted, diagnosed, document, fitting, inferred, sections

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from weightsmith.json_value import JsonObject
    from weightsmith.report.blocks import Report

D = TypeVar("D")
# Keys of `infer-config` under which values of a config stand.
OF_CONFIG = frozenset({"config", "fields"})
_WAY_OUT = "name a file that one of these printed with --json: {}"


def composed(kept: JsonObject, called: str) -> Report:
    """The report of a document. called: its file. Raises InvalidConfig where it is none that a report is made of."""
    command = kept.get("command")
    if isinstance(command, str) and command in _COMPOSERS:
        return _COMPOSERS[command](kept, called)
    fact = f"is a result of {command:.40}" if isinstance(command, str) else "is no result of a command"
    raise InvalidConfig(called, f"{fact}, of which no report is made", _WAY_OUT.format(", ".join(_COMPOSERS)))


def _verification(kept: JsonObject, called: str) -> Report:
    return sections.report(document.read(kept, called))


def _read(kind: type[D], compose: Callable[[D], Report], kept: JsonObject, called: str) -> Report:
    """NaN and infinity are null as in the JSON, but those of a config stay what they are."""
    values = {key: value if key in OF_CONFIG else finite(value) for key, value in kept.items()}
    try:
        return compose(read_as(kind, values))
    except NotARecord as error:
        way_out = "make it again with this version of weightsmith"
        raise InvalidConfig(called, f"is no whole result of {kept['command']} ({error})", way_out) from error


_COMPOSERS: Mapping[str, Callable[[JsonObject, str], Report]] = {
    "infer-config": partial(_read, InferConfigDocument, inferred.report),
    "convert": partial(_read, ConvertDocument, converted.report),
    "diff": partial(_read, DiffDocument, compared.report),
    "fits": partial(_read, FitsDocument, fitting.report),
    "doctor": partial(_read, DoctorDocument, diagnosed.report),
    "verify-on-npu": _verification,
}
