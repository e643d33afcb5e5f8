"""What the model is asked: built-in prompts in English and Chinese, or a user's own file of JSON lines."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from weightsmith.errors import InvalidConfig, MissingInput

if TYPE_CHECKING:
    from pathlib import Path


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
