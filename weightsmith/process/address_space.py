"""Begins within a limited address space (`ulimit -v`), where numpy's BLAS would wait for ever."""

from __future__ import annotations

import os
import resource

from weightsmith.errors import MachineFault

# Bytes of address space. numpy 2.4 starts in 135 MB with one BLAS thread [ran]; our own modules and the input's
# tables come on top of that.
LEAST = 200_000_000
# OpenBLAS reserves some 41 MB for each core when it is loaded (2 cores: 172 MB in all [ran]), 64 cores at most, and
# asks for ever when it is refused. A process with more room than this can bear that.
_ROOMY = 8_000_000_000


def begin_within_limit() -> None:
    """Makes numpy start in the address space that this process may have; call it before numpy is imported.

    The matrices that are multiplied here are small, so one BLAS thread is no loss. A user's own OPENBLAS_NUM_THREADS
    stays.

    Raises:
        MachineFault: the limit is too low for numpy itself.
    """
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit == resource.RLIM_INFINITY or limit >= _ROOMY:
        return
    if limit < LEAST:
        raise MachineFault(
            "memory",
            f"this process may use {limit // 1_000_000} MB of address space, and {LEAST // 1_000_000} MB are needed",
            f"raise the limit (`ulimit -v {LEAST // 1000}` or more)",
        )
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
