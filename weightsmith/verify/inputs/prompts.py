"""What the model is asked: built-in prompts in English and Chinese, or a user's own file of JSON lines."""

from __future__ import annotations

from codecs import BOM_UTF8
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeGuard

from weightsmith.checkpoint.json_file import JsonFaultError, parse_object
from weightsmith.checkpoint.names import sample
from weightsmith.checkpoint.small_file import read_small
from weightsmith.errors import InvalidConfig

if TYPE_CHECKING:
    from pathlib import Path

    from weightsmith.json_value import Json

# Each prompt is answered by an engine, and again by a reference on the CPU: thousands would take days.
_LARGEST, _MOST = 16 << 20, 10_000


@dataclass(frozen=True, slots=True)
class Prompt:
    """`expect` is a substring that a model which runs right and knows the fact has in its answer."""

    text: str
    expect: str | None = None


_LONG_ENGLISH = (
    "Read the notes and answer the question at the end. Note one: the ship left the harbour on Monday with "
    "forty boxes of tea. Note two: the storm came on Tuesday night and lasted until Thursday morning. Note "
    "three: on Friday the captain wrote a letter to his brother in Rome. Question: the capital of Japan is"
)
_LONG_CHINESE = (
    "请先阅读下面的材料,然后回答问题。材料一:春天来了,山上的树都绿了,河里的水也暖了。材料二:小明每天早上"
    "七点起床,八点去学校,下午四点回家。材料三:图书馆里有很多书,人们喜欢在那里学习。问题:中国的首都是"
)

# Plain facts first: a model that runs right answers them whatever it was tuned for, and a broken one
# seldom does. The open ones stretch the distribution that the numeric comparison sees. The two long
# ones pass a 128-token KV block for a byte-level tokenizer, and several 16-token blocks for any other.
BUILT_IN: tuple[Prompt, ...] = (
    Prompt("The capital of France is", "Paris"),
    Prompt("The capital of China is", "Beijing"),
    Prompt("The capital of Germany is", "Berlin"),
    Prompt("The capital of Italy is", "Rome"),
    Prompt("What is the capital of France?", "Paris"),
    Prompt("What is the capital of Spain?", "Madrid"),
    Prompt("法国的首都是", "巴黎"),
    Prompt("中国的首都是", "北京"),
    Prompt("日本的首都是", "东京"),
    Prompt("1+1=", "2"),
    Prompt("1 + 1 =", "2"),
    Prompt("2+3=", "5"),
    Prompt("In mathematics, 2 + 2 =", "4"),
    Prompt("2+2等于多少?只需给出数字。", "4"),
    Prompt("Translate to Chinese: Hello, world!", "你好"),
    Prompt("Translate to Chinese: Thank you.", "谢谢"),
    Prompt("Translate to English: 水", "ater"),
    Prompt("Translate to English: 你好", "ello"),
    Prompt("The largest planet in our solar system is", "Jupiter"),
    Prompt("Water is made of hydrogen and", "oxygen"),
    Prompt("The opposite of hot is", "cold"),
    Prompt("The first month of the year is", "January"),
    Prompt("The day after Monday is", "Tuesday"),
    Prompt("一年有多少个月?", "12"),
    Prompt(_LONG_ENGLISH, "Tokyo"),
    Prompt(_LONG_CHINESE, "北京"),
    Prompt("Hello, how are you?"),
    Prompt("你好"),
    Prompt("Machine learning is a"),
    Prompt("什么是三元量化?"),
    Prompt("The meaning of life is"),
    Prompt("Python is a"),
)


def load_prompts(path: Path) -> tuple[Prompt, ...]:
    """Prompts from a user's file of JSON lines, `{"prompt": "...", "expect": "substring, optional"}`.

    Raises MissingInput when the file cannot be read, InvalidConfig naming the line when one cannot be used
    or when there is none.
    """
    raw = read_small(path, _LARGEST, named=True).removeprefix(BOM_UTF8)
    # Not splitlines: a JSON string may hold U+2028 and its like unescaped.
    lines = [(number, line) for number, line in enumerate(raw.split(b"\n"), 1) if line.strip()]
    if len(lines) > _MOST:
        raise InvalidConfig(path, f"holds {len(lines):,} prompts, more than {_MOST:,}", "name a shorter file")
    found = tuple(_read_line(path, number, line) for number, line in lines)
    if not found:
        raise InvalidConfig(path, "holds no prompt", 'write lines like {"prompt": "1+1=", "expect": "2"}')
    return found


def _read_line(path: Path, number: int, line: bytes) -> Prompt:
    way_out = 'a line reads {"prompt": "1+1=", "expect": "2"}, expect optional'
    try:
        entry = parse_object(line)
    except JsonFaultError as fault:
        raise InvalidConfig(path, f"line {number} {fault.fact}", way_out) from fault
    text, expect = entry.get("prompt"), entry.get("expect")
    if not _is_text(text):
        raise InvalidConfig(path, f'line {number} has no text under "prompt"', way_out)
    if expect is not None and not _is_text(expect):
        raise InvalidConfig(path, f'line {number} has no text under "expect"', way_out)
    unknown = sorted(entry.keys() - {"prompt", "expect"})
    if unknown:
        raise InvalidConfig(path, f"line {number} has unknown keys {sample(unknown)}", way_out)
    return Prompt(text, expect)


def _is_text(value: Json) -> TypeGuard[str]:
    """Whether a tokenizer can take it: half a surrogate pair is no character."""
    return isinstance(value, str) and value != "" and not any("\ud800" <= c <= "\udfff" for c in value)
