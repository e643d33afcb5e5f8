"""The language that people are spoken to in: English, which loads no catalogue, or Chinese."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from weightsmith.phrases import Text

Language: TypeAlias = Literal["en", "zh"]
LANGUAGES: tuple[Language, ...] = get_args(Language)

_OPTION = "--language"
# In the order in which POSIX has them decide.
_LOCALE = ("LC_ALL", "LC_MESSAGES", "LANG")


def wanted(words: Sequence[str], environment: Mapping[str, str]) -> Language:
    """The language that a command line asks for, else the environment.

    The words are searched and not parsed: help and complaints about usage come before there are options. The last
    `--language` counts; what stands behind `--` is an engine's.
    """
    ours = words[: words.index("--")] if "--" in words else words
    for number, word in reversed(list(enumerate(ours))):
        name, equals, value = word.partition("=")
        said = value if equals else "".join(ours[number + 1 : number + 2])
        for language in LANGUAGES:
            if name == _OPTION and said == language:
                return language
    return _of_environment(environment)


def _of_environment(environment: Mapping[str, str]) -> Language:
    """As gettext reads it: LANGUAGE is a list in order of preference, but for the locales C and POSIX."""
    locale = next(filter(None, map(environment.get, _LOCALE)), "")
    if locale in ("C", "POSIX"):
        return "en"
    for name in [*environment.get("LANGUAGE", "").split(":"), locale]:
        for language in LANGUAGES:
            if name.lower().replace("-", "_").split(".")[0].split("_")[0] == language:
                return language
    return "en"


def spoken(text: Text, language: Language) -> str:
    """What to say in a language, its gaps filled. Foreign text stays, and English where there is no translation."""
    if type(text) is str:  # foreign
        return text
    from weightsmith.phrases import Phrase, Sentence

    if isinstance(text, Phrase):
        words = text.english if language == "en" else _translated(text.english)
        return words.format(**{name: spoken(value, language) for name, value in text.values.items()})
    if language == "en" or not isinstance(text, Sentence):
        return text
    from weightsmith.catalogue import chinese

    return chinese().sentence(text)


def _translated(english: str) -> str:
    from weightsmith.catalogue import chinese

    return chinese().phrase(english)
