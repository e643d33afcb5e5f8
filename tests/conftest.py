"""How the whole suite runs: which tests stay in one process of pytest-xdist, and how hypothesis draws."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

from weightsmith.cli import terminal

if TYPE_CHECKING:
    from collections.abc import Iterator

# CI draws the same examples every time and remembers none; elsewhere new ones are tried. No example has a deadline:
# what it takes depends on what else the machine does. Tests that limit time measure it themselves.
settings.register_profile("ci", derandomize=True, database=None, deadline=None, print_blob=True)
settings.register_profile("explore", deadline=None)
settings.load_profile("ci" if os.environ.get("CI") else "explore")

# Tests read English screens, whatever the developer's are; those of another language say so.
for variable in ("LANGUAGE", "LC_ALL", "LC_MESSAGES", "LANG"):
    if "zh" in os.environ.get(variable, ""):
        os.environ[variable] = "C.UTF-8"

# A shell that starts the suite in the background hands down that both are ignored, and so to every child of a test.
for number, usual in ((signal.SIGINT, signal.default_int_handler), (signal.SIGQUIT, signal.SIG_DFL)):
    if signal.getsignal(number) == signal.SIG_IGN:
        signal.signal(number, usual)

# Fixtures that start an engine for many tests (tests/verify/conftest.py). Those that build on one name it, too.
SHARED_ENGINES = ("fused", "hrm_text", "causal_hrm", "own_prompts")


@pytest.fixture(autouse=True)
def _english_again() -> Iterator[None]:
    """A run speaks one language to its end, and the tests of one process are many runs."""
    yield
    terminal.speak("en")


def _group(item: pytest.Item) -> str:
    """Tests of one group run in one process: those that ask one engine, else those of one module.

    Other tests of an engine are groups of their own: each takes as long as a module of small ones.
    """
    engines = [name for name in SHARED_ENGINES if name in getattr(item, "fixturenames", ())]
    if engines:
        return engines[0]
    return item.nodeid if item.get_closest_marker("engine") else item.nodeid.split("::")[0]


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """With `-n`: the long groups first, so that the short ones fill the gaps at the end."""
    if not config.getoption("numprocesses", None) and not hasattr(config, "workerinput"):
        return
    groups = {item.nodeid: _group(item) for item in items}
    items.sort(key=lambda i: (groups[i.nodeid] not in SHARED_ENGINES, not i.get_closest_marker("engine")))
    for item in items:
        item.add_marker(pytest.mark.xdist_group(groups[item.nodeid]))
