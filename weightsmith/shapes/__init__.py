"""WITNESS 1: what the tensors' names and shapes prove about the configuration. Never imports torch or numpy."""

from weightsmith.shapes.explanation import explained
from weightsmith.shapes.field_reports import FieldReport
from weightsmith.shapes.infer import infer, verdict_of
from weightsmith.shapes.inference import Inference
from weightsmith.shapes.repair import ConfigFile, find_config, found_above, lines_of, write_config

__all__ = [
    "ConfigFile",
    "FieldReport",
    "Inference",
    "explained",
    "find_config",
    "found_above",
    "infer",
    "lines_of",
    "verdict_of",
    "write_config",
]
