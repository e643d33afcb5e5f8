"""What the server is started with and asked, and what it answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from weightsmith.records import Record

if TYPE_CHECKING:
    from collections.abc import Mapping

    from weightsmith.verify.inputs.tokens import Completion


@dataclass(frozen=True, slots=True)
class ServerJob(Record):
    """words: behind `vllm serve`."""

    words: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Answers:
    """What a server answered.

    completions, texts: by prompt number, of prompts given as token ids.
    streamed: text of the first prompt's answer, its pieces put together.
    chat_ids: token ids that the server made of the chat's question, None where nothing was asked so.
    chat: its answer.
    """

    completions: Mapping[int, Completion]
    texts: Mapping[int, str]
    streamed: str
    chat_ids: tuple[int, ...] | None = None
    chat: Completion | None = None


@dataclass(frozen=True, slots=True)
class Served:
    """One server's life.

    words: behind `vllm serve`. loading: seconds until it was healthy.
    clean: whether it ended by itself when it was told to.
    """

    words: tuple[str, ...]
    loading: float
    answers: Answers
    clean: bool
