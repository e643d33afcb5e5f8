"""A verdict in words, and the phrases that both renderers write."""

from __future__ import annotations

from typing import TYPE_CHECKING

from weightsmith.language import spoken
from weightsmith.phrases import say

if TYPE_CHECKING:
    from weightsmith.language import Language
    from weightsmith.report.blocks import Judged

VERDICT = say("Verdict")
# Of HTML, which can hide it.
WHOLE_ANSWER = say("whole text")
_VERDICTS = {"pass": say("pass"), "fail": say("fail"), "inconclusive": say("inconclusive")}


def verdict_words(judged: Judged, language: Language) -> str:
    """A verdict in its own words, or in the usual ones."""
    return spoken(_VERDICTS[judged.verdict] if judged.words is None else judged.words, language)
