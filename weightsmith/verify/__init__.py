"""Witness 3: what the running model proves, in the engine and on the device it is meant for.

Neither torch, transformers nor vLLM is imported in this process: they run in children (`weightsmith.process`).
"""

from weightsmith.verify.options import Options
from weightsmith.verify.result import Check, VerifyResult
from weightsmith.verify.verification import verify

__all__ = ["Check", "Options", "VerifyResult", "verify"]
