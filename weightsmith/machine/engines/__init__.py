"""What each published engine can load: tables read from the sources in its wheel, with version and date.

`read_wheel` makes a table of a wheel without importing anything of it; `tables` gives them to whoever asks.
"""

from weightsmith.machine.engines.tables import Engine, Transformers, engine, engines, transformers_for

__all__ = ["Engine", "Transformers", "engine", "engines", "transformers_for"]
