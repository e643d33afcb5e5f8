"""How often each question was answered wrongly, when its limits were set: data, from one run of `make bench-unseen`.

Asked were 34 sound models (16 kinds, each trained for 170 seconds on a busy processor and untrained, SmolLM2-135M and
all-MiniLM-L6-v2), 320 more untrained ones, and the statistics themselves, 500 times with numbers of chance. Of models
those count that have what the question is about.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

# question → (wrong, asked).
ALARMS: Mapping[str, tuple[int, int]] = {
    "head-width": (0, 810),
    "rotary-order": (0, 511),
    "tokenizer": (0, 854),
    "unused-rows": (0, 354),
    "special-tokens": (0, 354),
    "tied-head": (0, 676),
    "norm-offset": (0, 743),
    "gate-and-up": (0, 743),
    "layer-order": (0, 502),
    "layer-copies": (0, 502),
    "expert-copies": (0, 522),
    "experts-untrained": (0, 522),
    "dtype-history": (0, 354),
    "quantized-once": (0, 854),
}
