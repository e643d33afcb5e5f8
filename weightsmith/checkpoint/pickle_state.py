"""What a pickle interpreter holds while it runs: bytes, stack, memo; every access is checked and capped."""

from __future__ import annotations

from typing import NoReturn, Protocol

from weightsmith.checkpoint.names import quoted
from weightsmith.errors import CorruptCheckpoint, HostileCheckpoint

# torch.save spends 32 opcodes and 3 calls on a tensor: 1.5 million steps are 32,000 tensors in one file, while
# shards in the wild hold some thousand. Measured: 0.2 to 0.5 us an opcode, 2 us a call, so a bomb ends in 1 s.
MOST_STEPS = 1_500_000
CALL_STEPS = 5
# Honest files stack at most 2,000 items (a SETITEMS batch) some ten levels deep.
MOST_STACKED = 200_000
MOST_NESTED = 1_000
LONGEST_TEXT = 16 << 20
LONGEST_INTEGER = 255
_UNSAFE = "do not load it with torch.load; get safetensors or a clean state dict from a source that you trust"
_DAMAGED = "the file is damaged; download it again"


class Vocabulary(Protocol):
    """What the names and persistent ids of one kind of pickle stand for. Every value it returns is inert."""

    def find(self, module: str, name: str) -> object:
        """The stand-in for a global, or an error of ours that names it."""

    def call(self, callee: object, args: tuple[object, ...]) -> object:
        """The inert value that a REDUCE of a stand-in yields."""

    def persistent(self, key: object) -> object:
        """The stand-in for a persistent id."""

    def key(self, key: object) -> str | None:
        """The text under which a dict keeps an entry whose key is none, or None to leave the entry out."""


class Truncated(CorruptCheckpoint):
    """The bytes end inside the pickle: with more of the file at hand it may still be whole."""


class Inert:
    """A value that is not made (a numpy scalar, a device): its type's name, and the state that it would get."""

    __slots__ = ("name", "state")

    def __init__(self, name: str) -> None:
        self.name = name
        self.state: object = None


class PickleState:
    __slots__ = ("at", "data", "marks", "memo", "size", "stack", "steps", "subject", "vocabulary")

    def __init__(self, data: bytes, start: int, subject: str, vocabulary: Vocabulary) -> None:
        self.data, self.at, self.subject, self.vocabulary = data, start, subject, vocabulary
        self.size, self.steps = len(data), 0
        self.stack: list[object] = []
        self.marks: list[list[object]] = []
        self.memo: dict[int, object] = {}

    # Reading arguments.

    def take(self, count: int) -> bytes:
        start = self.at
        end = start + count
        if end > self.size:
            self.truncated()
        self.at = end
        return self.data[start:end]

    def number(self, width: int) -> int:
        return int.from_bytes(self.take(width), "little")

    def line(self) -> bytes:
        end = self.data.find(b"\n", self.at)
        if end < 0:
            self.truncated()
        start, self.at = self.at, end + 1
        return self.data[start:end]

    def text(self, raw: bytes) -> str:
        if len(raw) > LONGEST_TEXT:
            self.hostile(f"the pickle holds a text of {len(raw):,} bytes, more than {LONGEST_TEXT:,}")
        try:
            return raw.decode("utf-8", "surrogatepass")
        except UnicodeDecodeError:
            self.corrupt(f"the pickle holds a text that is not UTF-8 near byte {self.at:,}")

    def digits(self, raw: bytes) -> int:
        if len(raw) > LONGEST_INTEGER:
            self.hostile(f"the pickle holds a decimal number of {len(raw):,} digits")
        try:
            return int(raw)
        except ValueError:
            self.corrupt(f"the pickle holds {quoted(raw)} where a number is expected")

    # The stack.

    def push(self, value: object) -> None:
        self.stack.append(value)

    def pop(self) -> object:
        if not self.stack:
            self.corrupt(f"the pickle takes a value from an empty stack at byte {self.at:,}")
        return self.stack.pop()

    def top(self) -> object:
        if not self.stack:
            self.corrupt(f"the pickle takes a value from an empty stack at byte {self.at:,}")
        return self.stack[-1]

    def since_mark(self) -> list[object]:
        if not self.marks:
            self.corrupt(f"the pickle has no mark to go back to at byte {self.at:,}")
        items, self.stack = self.stack, self.marks.pop()
        return items

    def tuple_of(self, count: int) -> None:
        if len(self.stack) < count:
            self.corrupt(f"the pickle takes a value from an empty stack at byte {self.at:,}")
        stack = self.stack
        stack[-count:] = [tuple(stack[-count:])]

    def remember(self, index: int) -> None:
        if not 0 <= index < 1 << 32:
            self.hostile(f"the pickle uses the memo index {quoted(index)}")
        self.memo[index] = self.top()

    def recall(self, index: int) -> None:
        if index not in self.memo:
            self.corrupt(f"the pickle recalls the memo entry {quoted(index)}, which it never stored")
        self.stack.append(self.memo[index])

    # Containers.

    def fill(self, target: object, items: list[object]) -> None:
        """SETITEM and SETITEMS."""
        if len(items) % 2:
            self.corrupt(f"the pickle sets a key without a value at byte {self.at:,}")
        if isinstance(target, dict):
            for key, value in zip(items[::2], items[1::2], strict=True):
                text = key if type(key) is str else self.vocabulary.key(key)
                if text is not None:
                    target[text] = value
        elif not isinstance(target, Inert):
            self.corrupt(f"the pickle sets items of a {type(target).__name__}")

    def extend(self, target: object, items: list[object]) -> None:
        """APPEND, APPENDS and ADDITEMS. Sets are lists here: nothing looks into them."""
        if isinstance(target, list):
            target.extend(items)
        elif not isinstance(target, Inert):
            self.corrupt(f"the pickle appends to a {type(target).__name__}")

    # Names and calls.

    def find(self, module: object, name: object) -> None:
        if type(module) is not str or type(name) is not str:
            self.corrupt(f"the pickle names a global by something other than text at byte {self.at:,}")
        self.steps += CALL_STEPS
        self.stack.append(self.vocabulary.find(module, name))

    def reduce(self) -> None:
        args = self.pop()
        callee = self.pop()
        if type(args) is not tuple:
            self.corrupt(f"the pickle calls with a {type(args).__name__} instead of a tuple")
        self.steps += CALL_STEPS
        self.stack.append(self.vocabulary.call(callee, args))

    def persistent(self) -> None:
        self.steps += CALL_STEPS
        self.stack.append(self.vocabulary.persistent(self.pop()))

    def build(self) -> None:
        # The state of an OrderedDict is torch's `_metadata` (version numbers); no tensor depends on it.
        state = self.pop()
        target = self.top()
        if isinstance(target, Inert):
            target.state = state
        elif not isinstance(target, dict):
            self.corrupt(f"the pickle sets the state of a {type(target).__name__}")

    # Refusals.

    def check_depth(self) -> None:
        if len(self.stack) > MOST_STACKED or len(self.marks) > MOST_NESTED:
            self.hostile(f"the pickle stacks more than {MOST_STACKED:,} items or {MOST_NESTED:,} levels")

    def truncated(self) -> NoReturn:
        raise Truncated(self.subject, f"the pickle ends inside an opcode at byte {self.at:,}", _DAMAGED)

    def corrupt(self, fact: str) -> NoReturn:
        raise CorruptCheckpoint(self.subject, fact, _DAMAGED)

    def hostile(self, fact: str) -> NoReturn:
        raise HostileCheckpoint(
            self.subject, f"{fact}, which no tensor file needs (nothing was executed)", _UNSAFE
        )
