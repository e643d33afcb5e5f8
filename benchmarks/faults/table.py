"""The faults and what became of them, as tables for people and as one document for scripts."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from tabulate import tabulate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.faults.case import CleanResult, Finding, Outcome, Result

Language = Literal["en", "zh"]
# By how the name of a page ends.
LANGUAGES: dict[str, Language] = {".md": "en", ".zh.md": "zh"}
_WIDTH = 110
# What the tables say beside names of faults, commands and their messages, which are English in both languages.
_CHINESE = {
    "fault": "故障",
    "model": "模型",
    "caught by": "由谁发现",
    "none": "无",
    "witness": "证据",
    "without a baseline": "没有基线时",
    "message": "消息",
    "noticed, not named": "有所察觉，未指明",
    "nothing": "未发现",
    "needs a baseline": "需要基线",
    "harmless": "无影响",
    "**missed**": "**漏检**",
    "sound model": "完好的模型",
    "every command": "所有命令",
    "passes": "通过",
    "family": "类别",
    "faults": "故障数",
    "of these with a baseline only": "其中只有基线能发现",
    "missed": "未发现数",
    "all": "合计",
}


def _in(language: Language, *words: str) -> tuple[str, ...]:
    return words if language == "en" else tuple(_CHINESE.get(word, word) for word in words)


def results_table(results: Sequence[Result], language: Language = "en") -> str:
    """Markdown: one row per fault."""
    rows = [
        (
            r.fault.name,
            r.fault.model,
            f"`{r.caught.command}`" if r.caught else _in(language, "none")[0],
            r.caught.witness if r.caught else "",
            _alone(r, language),
            _line(_told(r)),
        )
        for r in results
    ]
    headers = _in(language, "fault", "model", "caught by", "witness", "without a baseline", "message")
    return str(tabulate(rows, headers, tablefmt="github", disable_numparse=True))


def _alone(result: Result, language: Language) -> str:
    """What the files and the engine show by themselves."""
    if result.alone.caught is not None:
        return result.alone.caught.how
    said = "noticed, not named" if result.alone.noticed else "nothing"
    missed = "harmless" if result.fault.unseen else "**missed**"
    return ": ".join(_in(language, said, "needs a baseline" if result.needs_baseline else missed))


def _told(result: Result) -> str:
    if result.caught is not None:
        return result.caught.message
    if result.fault.unseen:
        return result.fault.unseen
    noticed = result.alone.noticed or (result.with_baseline.noticed if result.with_baseline else ())
    return noticed[0].message if noticed else "every command was content"


def clean_table(results: Sequence[CleanResult], language: Language = "en") -> str:
    (passes,) = _in(language, "passes")
    rows = [(r.case.name, _line("; ".join(map(_alarm, r.alarms))) if r.alarms else passes) for r in results]
    return str(tabulate(rows, _in(language, "sound model", "every command"), tablefmt="github"))


def _alarm(finding: Finding) -> str:
    return f"**false alarm**: {finding.command} ({finding.how}): {finding.message}"


def totals(results: Sequence[Result], clean: Sequence[CleanResult], language: Language = "en") -> str:
    """By family and witness, and the two figures that count."""
    families = list(dict.fromkeys(r.fault.family for r in results))
    witnesses = ("reader", "shapes", "values", "behaviour")
    rows = []
    for family in [*families, "all"]:
        own = [r for r in results if family in {"all", r.fault.family}]
        by = Counter(r.caught.witness for r in own if r.caught)
        needing = sum(r.needs_baseline for r in own)
        missed = sum(r.caught is None for r in own)
        rows.append((*_in(language, family), len(own), *(by[w] for w in witnesses), needing, missed))
    headers = _in(language, "family", "faults", *witnesses, "of these with a baseline only", "missed")
    return f"{tabulate(rows, headers, tablefmt='github')}\n\n{_sentence(results, clean, language)}"


@dataclass(frozen=True, slots=True)
class _Counts:
    """felt: faults that change anything. alone: caught without a baseline. quiet: in a document of an exit 0."""

    felt: int
    harmless: int
    caught: int
    alone: int
    quiet: int
    expected: int

    @property
    def share(self) -> str:
        return f"{self.caught / self.felt:.1%}" if self.felt else "0%"


def _counted(results: Sequence[Result]) -> _Counts:
    harmless = sum(r.caught is None and bool(r.fault.unseen) for r in results)
    return _Counts(
        felt=len(results) - harmless,
        harmless=harmless,
        caught=sum(r.caught is not None for r in results),
        alone=sum(r.alone.caught is not None for r in results),
        quiet=sum(r.caught is not None and r.caught.how.startswith("exit 0") for r in results),
        expected=sum(r.as_expected for r in results),
    )


# Of the faults, and of the sound models; what joins the two.
_SENTENCES: dict[Language, tuple[str, str, str]] = {
    "en": (
        "{n.caught} of {n.felt} faults caught ({n.share}), {n.alone} of them without a baseline; {n.quiet} are said in "
        "the document of a command that exits 0. {n.harmless} more change nothing that a model says, and are "
        "not counted. {n.expected} went as their case expects: command, witness and need of a baseline.",
        "{alarms} of {sound} sound models raise a false alarm.",
        " ",
    ),
    "zh": (
        "发现 {n.caught} / {n.felt} 个故障（{n.share}），其中 {n.alone} 个不需要基线；{n.quiet} 个写在以 0 退出的命令的"
        "文档里。另有 {n.harmless} 个不改变模型的任何输出，不计入。"
        "{n.expected} 个与用例的预期一致：命令、证据、是否需要基线。",
        "{sound} 个完好的模型中有 {alarms} 个误报。",
        "",
    ),
}


def _sentence(results: Sequence[Result], clean: Sequence[CleanResult], language: Language) -> str:
    of_faults, of_sound, joint = _SENTENCES[language]
    words = [of_faults.format(n=_counted(results))] if results else []
    if clean:
        words.append(of_sound.format(alarms=sum(bool(r.alarms) for r in clean), sound=len(clean)))
    return joint.join(words)


def document(results: Sequence[Result], clean: Sequence[CleanResult], seconds: float) -> dict[str, Any]:
    """Everything, for scripts."""
    return {
        "benchmark": "faults",
        "faults": [
            {
                "name": r.fault.name,
                "family": r.fault.family,
                "model": r.fault.model,
                "caught": r.caught is not None,
                "needs_baseline": r.needs_baseline,
                "as_expected": r.as_expected,
                "alone": _outcome(r.alone),
                "with_baseline": None if r.with_baseline is None else _outcome(r.with_baseline),
                "unseen": r.fault.unseen,
                "seconds": round(r.seconds, 1),
            }
            for r in results
        ],
        "clean": [
            {"name": r.case.name, "alarms": [_finding(f) for f in r.alarms], "seconds": round(r.seconds, 1)}
            for r in clean
        ],
        "caught": sum(r.caught is not None for r in results),
        "false_alarms": sum(bool(r.alarms) for r in clean),
        "seconds": round(seconds, 1),
    }


def _outcome(outcome: Outcome) -> dict[str, Any]:
    return {
        "caught": None if outcome.caught is None else _finding(outcome.caught),
        "noticed": [_finding(f) for f in outcome.noticed],
    }


def _finding(finding: Finding) -> dict[str, str]:
    return {
        "command": finding.command,
        "witness": finding.witness,
        "how": finding.how,
        "message": finding.message,
    }


def _line(words: str) -> str:
    """One cell: one line, no column marks, cut where nobody reads on."""
    flat = " ".join(words.replace("|", "/").split())
    return flat if len(flat) <= _WIDTH else flat[: _WIDTH - 1] + "…"
