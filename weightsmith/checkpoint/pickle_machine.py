"""A pickle interpreter that cannot run anything: it builds plain data and inert stand-ins, under caps.

Python's own unpickler calls what a file names. This one knows a vocabulary (see torch_objects) that turns the
few names found in honest tensor files into inert values, and refuses every other name and every opcode that
tensor files do not use. An allow-list, because deny-lists leak (field-notes, 2). Opcode meanings: the
docstrings of CPython's `pickletools.py`.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from weightsmith.checkpoint.names import quoted
from weightsmith.checkpoint.pickle_state import (
    LONGEST_INTEGER,
    MOST_NESTED,
    MOST_STEPS,
    PickleState,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from weightsmith.checkpoint.pickle_state import Vocabulary


def read_pickle(
    data: bytes, start: int, subject: str, vocabulary: Vocabulary, most_steps: int = MOST_STEPS
) -> tuple[object, int]:
    """The value of the pickle at `start` and the position behind its STOP.

    most_steps: when to give up; a call counts CALL_STEPS.

    Nothing that the pickle names is imported or called. dicts keep entries under text keys only: others are
    never tensor names, and their hashes could be chosen to collide.
    Raises HostileCheckpoint, CorruptCheckpoint (Truncated where the bytes end too early) and what the
    vocabulary raises.
    """
    state = PickleState(data, start, subject, vocabulary)
    handlers, size = _HANDLERS, len(data)
    while state.steps < most_steps:
        # An opcode stacks one item at most: looking at the depth once a round is enough, and costs nothing.
        state.check_depth()
        state.steps += _ROUND
        for _ in range(_ROUND):
            at = state.at
            if at >= size:
                state.truncated()
            state.at = at + 1
            handler = handlers[data[at]]
            if handler is None:
                if data[at] == _STOP:
                    return state.pop(), state.at
                state.hostile(f"the pickle uses the opcode {_REFUSED.get(data[at], hex(data[at]))}")
            handler(state)
    state.hostile(f"the pickle takes more than {most_steps:,} steps")
    return None, state.at


# The opcodes of protocols 0 to 5 that plain data and torch's tensors use, one line each.


def _proto(m: PickleState) -> None:
    version = m.number(1)
    if version > 5:
        m.corrupt(f"the pickle states protocol {version}; the highest is 5")


def _frame(m: PickleState) -> None:
    if m.number(8) > len(m.data) - m.at:
        m.truncated()


def _string(m: PickleState, raw: bytes) -> None:
    # Python 2 text. torch.load reads it as UTF-8; bytes that are none cannot be a name and stay bytes.
    try:
        m.push(raw.decode("utf-8"))
    except UnicodeDecodeError:
        m.push(raw)


def _quoted_string(m: PickleState) -> None:
    raw = m.line()
    if len(raw) < 2 or raw[:1] != raw[-1:] or raw[:1] not in (b"'", b'"') or b"\\" in raw:
        m.corrupt(f"the pickle holds {quoted(raw)} where a quoted text is expected")
    _string(m, raw[1:-1])


def _text_line(m: PickleState) -> None:
    raw = m.line()
    if b"\\" in raw:
        m.corrupt("the pickle holds an escaped text of protocol 0, which weightsmith does not read")
    m.push(m.text(raw))


def _int_line(m: PickleState) -> None:
    raw = m.line()
    m.push(raw == b"01" if raw in (b"00", b"01") else m.digits(raw))


def _float_line(m: PickleState) -> None:
    raw = m.line()
    try:
        m.push(float(raw[:LONGEST_INTEGER]))
    except ValueError:
        m.corrupt(f"the pickle holds {quoted(raw)} where a number is expected")


def _long(m: PickleState, width: int) -> None:
    count = m.number(width)
    if count > LONGEST_INTEGER:
        m.hostile(f"the pickle holds an integer of {count:,} bytes")
    m.push(int.from_bytes(m.take(count), "little", signed=True))


def _dict(m: PickleState) -> None:
    items = m.since_mark()
    entries: dict[str, object] = {}
    m.fill(entries, items)
    m.push(entries)


def _global(m: PickleState) -> None:
    module, name = m.line(), m.line()
    m.find(m.text(module), m.text(name))


def _stack_global(m: PickleState) -> None:
    name, module = m.pop(), m.pop()
    m.find(module, name)


def _setitem(m: PickleState) -> None:
    value, key = m.pop(), m.pop()
    m.fill(m.top(), [key, value])


def _append(m: PickleState) -> None:
    value = m.pop()
    m.extend(m.top(), [value])


def _setitems(m: PickleState) -> None:
    items = m.since_mark()
    m.fill(m.top(), items)


def _appends(m: PickleState) -> None:
    items = m.since_mark()
    m.extend(m.top(), items)


def _mark(m: PickleState) -> None:
    m.marks.append(m.stack)
    m.stack = []
    if len(m.marks) > MOST_NESTED:
        m.check_depth()


# Three of four opcodes that torch writes are these. They reach into the state directly, because a call to a
# checked method costs as much as their work.


def _binput(m: PickleState) -> None:
    at = m.at
    m.at = at + 1
    if at >= m.size:
        m.truncated()
    m.memo[m.data[at]] = m.stack[-1] if m.stack else m.top()


def _long_binput(m: PickleState) -> None:
    at = m.at
    m.at = end = at + 4
    if end > m.size:
        m.truncated()
    m.memo[_number(m.data[at:end], "little")] = m.stack[-1] if m.stack else m.top()


def _binget(m: PickleState) -> None:
    at = m.at
    m.at = at + 1
    if at >= m.size:
        m.truncated()
    if m.data[at] not in m.memo:
        m.recall(m.data[at])
    m.stack.append(m.memo[m.data[at]])


def _binint1(m: PickleState) -> None:
    at = m.at
    m.at = at + 1
    if at >= m.size:
        m.truncated()
    m.stack.append(m.data[at])


def _binint2(m: PickleState) -> None:
    at = m.at
    m.at = end = at + 2
    if end > m.size:
        m.truncated()
    m.stack.append(_number(m.data[at:end], "little"))


def _tuple(m: PickleState) -> None:
    items = m.since_mark()
    m.stack.append(tuple(items))


def _pop(m: PickleState) -> None:
    if m.stack:
        m.stack.pop()
    else:
        m.since_mark()


_STOP = ord(".")
_ROUND = 1000
_number = int.from_bytes
_TABLE: dict[bytes, Callable[[PickleState], object]] = {
    b"\x80": _proto,
    b"\x95": _frame,
    b"(": _mark,
    b"0": _pop,
    b"1": lambda m: m.since_mark(),
    b"2": lambda m: m.push(m.top()),
    b"N": lambda m: m.stack.append(None),
    b"\x88": lambda m: m.stack.append(True),
    b"\x89": lambda m: m.stack.append(False),
    b"K": _binint1,
    b"M": _binint2,
    b"J": lambda m: m.push(int.from_bytes(m.take(4), "little", signed=True)),
    b"I": _int_line,
    b"L": lambda m: m.push(m.digits(m.line().rstrip(b"L"))),
    b"\x8a": lambda m: _long(m, 1),
    b"\x8b": lambda m: _long(m, 4),
    b"G": lambda m: m.push(struct.unpack(">d", m.take(8))[0]),
    b"F": _float_line,
    b"X": lambda m: m.push(m.text(m.take(m.number(4)))),
    b"\x8c": lambda m: m.push(m.text(m.take(m.number(1)))),
    b"\x8d": lambda m: m.push(m.text(m.take(m.number(8)))),
    b"V": _text_line,
    b"S": _quoted_string,
    b"T": lambda m: _string(m, m.take(m.number(4))),
    b"U": lambda m: _string(m, m.take(m.number(1))),
    b"B": lambda m: m.push(m.take(m.number(4))),
    b"C": lambda m: m.push(m.take(m.number(1))),
    b"\x8e": lambda m: m.push(m.take(m.number(8))),
    b"\x96": lambda m: m.push(m.take(m.number(8))),
    b")": lambda m: m.stack.append(()),
    b"t": _tuple,
    b"\x85": lambda m: m.tuple_of(1),
    b"\x86": lambda m: m.tuple_of(2),
    b"\x87": lambda m: m.tuple_of(3),
    b"]": lambda m: m.push([]),
    b"l": lambda m: m.push(m.since_mark()),
    b"a": _append,
    b"e": _appends,
    b"}": lambda m: m.push({}),
    b"d": _dict,
    b"s": _setitem,
    b"u": _setitems,
    b"\x8f": lambda m: m.push([]),
    b"\x90": _appends,
    b"\x91": lambda m: m.push(tuple(m.since_mark())),
    b"q": _binput,
    b"r": _long_binput,
    b"p": lambda m: m.remember(m.digits(m.line())),
    b"\x94": lambda m: m.remember(len(m.memo)),
    b"h": _binget,
    b"j": lambda m: m.recall(m.number(4)),
    b"g": lambda m: m.recall(m.digits(m.line())),
    b"c": _global,
    b"\x93": _stack_global,
    b"R": PickleState.reduce,
    b"\x81": PickleState.reduce,
    b"b": PickleState.build,
    b"Q": PickleState.persistent,
}
_HANDLERS = [_TABLE.get(bytes([code])) for code in range(256)]
# Known opcodes that are refused, for the error line.
_REFUSED = {
    ord("P"): "PERSID",
    ord("i"): "INST",
    ord("o"): "OBJ",
    0x82: "EXT1",
    0x83: "EXT2",
    0x84: "EXT4",
    0x92: "NEWOBJ_EX",
    0x97: "NEXT_BUFFER",
    0x98: "READONLY_BUFFER",
}
