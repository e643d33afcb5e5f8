"""Settings that a model reads and its config class does not declare: `getattr(config, "head_dim", None)`."""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import TYPE_CHECKING

from weightsmith.shapes.reference.meta_models import Rejected, model_on_meta

if TYPE_CHECKING:
    from collections.abc import Mapping, MutableMapping

    from weightsmith.shapes.reference.untyped import ConfigClass, ConfigObject


def undeclared_reads(architecture: str, config: ConfigObject) -> Mapping[str, frozenset[str]]:
    """The dotted names that a model class asks `config` or its inner configs for, and that these do not have.

    Name → the lines of code that ask for it, in the order in which they are first asked for. `config` is used up: it
    records from now on what it is asked for. Names that begin with an underscore are left out, as they are the
    library's own and no settings. A model that is refused tells what it asked for until then.
    """
    asked: dict[str, set[str]] = {}
    _record(config, "", asked)
    with suppress(Rejected):  # whoever builds the config to learn from it reports the refusal
        model_on_meta(architecture, config)
    return {n: frozenset(lines) for n, lines in asked.items() if not n.rpartition(".")[2].startswith("_")}


def _record(config: ConfigObject, prefix: str, asked: MutableMapping[str, set[str]]) -> None:
    """Makes the config and its inner ones note each name that they are asked for and do not have."""
    usual: ConfigClass = type(config)
    inner = {name: value for name, value in vars(config).items() if hasattr(value, "to_dict")}

    def recorded(self: ConfigObject, name: str) -> object:
        try:
            return usual.__getattribute__(self, name)
        except AttributeError:
            reader = sys._getframe(1)
            asked.setdefault(prefix + name, set()).add(f"{reader.f_code.co_filename}:{reader.f_lineno}")
            raise

    # Under the same name, by which transformers finds the model of an inner config.
    own = {"__getattribute__": recorded, "__module__": usual.__module__}
    object.__setattr__(config, "__class__", type(usual.__name__, (usual,), own))
    for name, value in inner.items():
        _record(value, f"{prefix}{name}.", asked)
