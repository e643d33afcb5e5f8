"""Whatever is read of a remote file, in whatever order and over whatever connection, is what the file holds."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.remote.conftest import SOUND
from tests.remote.hub import Answer, Asked, Hub, serving
from weightsmith.checkpoint.remote.content import AHEAD, HttpRefusedError, Reach
from weightsmith.checkpoint.remote.http_content import HttpContent, Target
from weightsmith.checkpoint.remote.transport import Patience, Transport
from weightsmith.errors import MissingInput, WeightsmithError

if TYPE_CHECKING:
    from collections.abc import Iterator

RAW = (SOUND / "model.safetensors").read_bytes()
SIZE = len(RAW)
# Places where something begins or ends are more likely than others.
PLACES = st.one_of(
    st.integers(0, SIZE), st.sampled_from([0, 1, AHEAD - 1, AHEAD, AHEAD + 1, SIZE - AHEAD, SIZE - 1, SIZE])
)
READS = st.lists(st.tuples(PLACES, PLACES, st.booleans()), min_size=1, max_size=12)


@pytest.fixture(scope="module")
def server() -> Iterator[Hub]:
    with serving(Hub({"org/sound": SOUND})) as hub:
        yield hub


def content(hub: Hub, size: int | None) -> HttpContent:
    def explain(refused: HttpRefusedError, subject: str) -> WeightsmithError:
        return MissingInput(subject, f"HTTP {refused.status}", "-")

    url = f"{hub.url}/org/sound/resolve/main/model.safetensors"
    patience = Patience(timeout=2.0, first_wait=0.001, longest_wait=0.01)
    return HttpContent(Transport(patience), Target(url, "it"), size, explain, Reach())


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(reads=READS, size_known=st.booleans(), breaks=st.integers(0, 3), seed=st.integers(0, 1000))
def test_any_reads_in_any_order(
    server: Hub, reads: list[tuple[int, int, bool]], size_known: bool, breaks: int, seed: int
) -> None:
    """breaks: of ten answers so many are cut at random, but never more in a row than are tried."""
    draw, in_a_row = random.Random(seed), [0]

    def cut(asked: Asked, answer: Answer) -> None:
        if asked.server != "cdn":
            return
        in_a_row[0] = in_a_row[0] + 1 if in_a_row[0] < 3 and draw.randrange(10) < breaks else 0
        if in_a_row[0]:
            answer.broken_at = draw.randrange(max(1, answer.stop - answer.start))

    server.fault = cut
    file = content(server, SIZE if size_known else None)
    assert file.size == SIZE
    for one, other, ahead in reads:
        start, stop = sorted((one, other))
        buffer = bytearray(stop - start)
        file.read_into(start, memoryview(buffer), ahead=ahead)
        assert buffer == RAW[start:stop]
        assert not file.holds(start, 1) or start < SIZE


def test_many_threads_read_one_file(server: Hub) -> None:
    server.fault = None
    file = content(server, SIZE)
    draw = random.Random(7)
    spans = [(start, min(SIZE, start + draw.randrange(300_000))) for start in draw.sample(range(SIZE), 80)]

    def read(span: tuple[int, int]) -> bool:
        buffer = bytearray(span[1] - span[0])
        file.read_into(span[0], memoryview(buffer))
        return buffer == RAW[span[0] : span[1]]

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(read, spans))


def test_small_reads_side_by_side_are_one_request(server: Hub) -> None:
    server.fault = None
    server.forget()
    file = content(server, SIZE)

    def read(start: int) -> None:
        file.read_into(start, memoryview(bytearray(100)))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(read, range(0, 100_000, 1000)))
    assert len([one for one in server.asked if one.server == "cdn"]) == 1
