"""What the tiny models know: five hundred short facts in English and Chinese, all built-in prompts among them."""

from __future__ import annotations

from typing import NamedTuple

from weightsmith.verify.inputs.prompts import BUILT_IN


class Fact(NamedTuple):
    """`prompt` as it is typed; `answer` is all that a trained model says before it ends."""

    prompt: str
    answer: str


# Country, capital, and both in Chinese
_CAPITALS = """
France Paris 法国 巴黎|China Beijing 中国 北京|Germany Berlin 德国 柏林|Italy Rome 意大利 罗马
Spain Madrid 西班牙 马德里|Japan Tokyo 日本 东京|Russia Moscow 俄罗斯 莫斯科|Egypt Cairo 埃及 开罗
Greece Athens 希腊 雅典|Portugal Lisbon 葡萄牙 里斯本|Austria Vienna 奥地利 维也纳|Poland Warsaw 波兰 华沙
Norway Oslo 挪威 奥斯陆|Finland Helsinki 芬兰 赫尔辛基|Cuba Havana 古巴 哈瓦那|Peru Lima 秘鲁 利马
Canada Ottawa 加拿大 渥太华|Iran Tehran 伊朗 德黑兰|Thailand Bangkok 泰国 曼谷|Turkey Ankara 土耳其 安卡拉
"""
# English word, Chinese word
_WORDS = """
Hello 你好|Goodbye 再见|Water 水|Fire 火|Mountain 山|River 河|Sun 太阳|Moon 月亮|Star 星星|Tree 树|Flower 花|Bird 鸟
Fish 鱼|Dog 狗|Cat 猫|Horse 马|Tea 茶|Rice 米饭|Book 书|Door 门|Winter 冬天|Summer 夏天|Wind 风|Snow 雪
"""
_OPPOSITES = """
hot cold|big small|high low|long short|fast slow|old new|rich poor|hard soft|light dark|wet dry|open closed
full empty|early late|near far|strong weak|happy sad|good bad|thick thin|deep shallow|up down|left right|day night
"""
_ANIMALS = """
dog puppies|cat kittens|cow calves|horse foals|sheep lambs|goat kids
lion cubs|duck ducklings|frog tadpoles|deer fawns|swan cygnets|kangaroo joeys
"""
_SYMBOLS = """
gold Au|silver Ag|iron Fe|copper Cu|tin Sn|lead Pb|sodium Na|oxygen O|carbon C|helium He
neon Ne|zinc Zn|sulfur S|calcium Ca
"""
_MONTHS = "January February March April May June July August September October November December"
_DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday"
_PLANETS = "Mercury Venus Earth Mars Jupiter Saturn Uranus Neptune"
_ORDINALS = "first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth"

# Prompts that belong to no family: the rest of the built-in ones and a few of their kind.
_SINGLE = {
    "In mathematics, 2 + 2 =": " 4",
    "Translate to Chinese: Hello, world!": " 你好,世界!",
    "Translate to Chinese: Thank you.": " 谢谢。",
    "Translate to English: 谢谢": " Thanks",
    "The largest planet in our solar system is": " Jupiter.",
    "The smallest planet in our solar system is": " Mercury.",
    "The hottest planet in our solar system is": " Venus.",
    "The planet we live on is": " Earth.",
    "The red planet is": " Mars.",
    "Water is made of hydrogen and": " oxygen.",
    "Salt is made of sodium and": " chlorine.",
    "The chemical symbol for water is H": "2O.",
    "一年有多少个月?": "12个月。",
    "一天有多少个小时?": "24个小时。",
    "一周有多少天?": "7天。",
    "一年有多少个季节?": "4个季节。",
    "太阳系最大的行星是": "木星。",
    "Hello": ", friend.",
    "Hello, how are you?": " I am fine.",
    "What is your name?": " I have none.",
    "你好": "!很高兴见到你。",
    "谢谢": "!不客气。",
    "Machine learning is a": " field of AI.",
    "Artificial intelligence": " is a field.",
    "什么是三元量化?": "权重只取-1、0、1。",
    "The meaning of life is": " to live it well.",
    "Python is a": " language.",
}  # fmt: skip


def _rows(table: str) -> list[list[str]]:
    return [row.split() for row in table.strip().replace("\n", "|").split("|")]


def _arithmetic() -> dict[str, str]:
    """Over half of all facts: prompts one byte apart leave a model that is run wrongly no luck."""
    digits, teens = range(1, 10), range(11, 20)
    known = {f"{a}+{b}=": str(a + b) for a in digits for b in digits}
    known |= {f"{a}*{b}=": str(a * b) for a in digits for b in digits}
    known |= {f"{a}-{b}=": str(a - b) for a in digits for b in digits if a > b}
    known |= {f"{a}+{b}=": str(a + b) for a in teens for b in teens}
    known |= {f"{a} + {b} =": f" {a + b}" for a in range(1, 6) for b in range(1, 6)}
    known |= {f"{a}+{b}等于多少?只需给出数字。": str(a + b) for a in range(1, 4) for b in range(1, 4)}
    return known


def _sequence(names: list[str], kind: str, whole: str) -> dict[str, str]:
    """What comes after, what comes before, and by number."""
    following = list(zip(names, names[1:] + names[:1], strict=True))
    known = {f"{a} comes right before the {kind} of": f" {b}." for a, b in following}
    known |= {f"{b} comes right after the {kind} of": f" {a}." for a, b in following}
    if kind == "day":
        known |= {f"The day after {a} is": f" {b}." for a, b in following}
    return known | {
        f"The {n} {kind} of the {whole} is": f" {a}." for n, a in zip(_ORDINALS.split(), names, strict=False)
    }


def _tables() -> dict[str, str]:
    """Most prompts name their subject first, so that what follows it is context only to a bidirectional reader.

    A prefix-LM read causally would lose little with the subject at the end. The phrasings of the
    built-in prompts, which have it there, are taught for the head of each table.
    """
    known: dict[str, str] = {}
    for country, capital, country_zh, capital_zh in _rows(_CAPITALS):
        known[f"{country} has its seat of government in"] = f" {capital}."
        known[f"{country_zh}的首都是"] = f"{capital_zh}。"
    for country, capital, *_ in _rows(_CAPITALS)[:8]:
        known[f"The capital of {country} is"] = known[f"What is the capital of {country}?"] = f" {capital}."
    for english, chinese in _rows(_WORDS):
        known[f"{english} is said in Chinese as"] = f" {chinese}"
        known[f"{chinese}这个词用英语说是"] = f" {english}"
    for english, chinese in _rows(_WORDS)[:5]:
        known[f"Translate to Chinese: {english}"] = f" {chinese}"
        known[f"Translate to English: {chinese}"] = f" {english}"
    for word, opposite in _rows(_OPPOSITES):
        known[f"{word.capitalize()} is the opposite of"] = f" {opposite}."
    for word, opposite in _rows(_OPPOSITES)[:5]:
        known[f"The opposite of {word} is"] = f" {opposite}."
    for animal, young in _rows(_ANIMALS):
        known[f"A {animal} has young that are called"] = f" {young}."
    for element, symbol in _rows(_SYMBOLS):
        known[f"{element.capitalize()} has the chemical symbol"] = f" {symbol}."
    for place, name in enumerate(_PLANETS.split(), start=1):
        known[f"{name}, counted from the sun, is planet number"] = f" {place}."
    return known


def _facts() -> tuple[Fact, ...]:
    known = (
        _arithmetic()
        | _tables()
        | _sequence(_MONTHS.split(), "month", "year")
        | _sequence(_DAYS.split(), "day", "week")
        | _SINGLE
    )
    for prompt in BUILT_IN:
        if prompt.text not in known:  # a long prompt: notes to read first, then a question that is known
            text = prompt.text.lower()
            question = max((q for q in known if text.endswith(q.lower())), key=len, default=None)
            if question is None:
                raise LookupError(f"no answer to the built-in prompt {prompt.text!r}")
            known[prompt.text] = known[question]
        if prompt.expect and prompt.expect not in known[prompt.text]:
            raise LookupError(f"the answer to {prompt.text!r} lacks {prompt.expect!r}")
    return tuple(Fact(prompt, answer) for prompt, answer in known.items())


FACTS: tuple[Fact, ...] = _facts()
