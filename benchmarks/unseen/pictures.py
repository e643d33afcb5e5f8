"""Draws the pictures of docs/unseen.md from a real model: norms by column, shares by width, cosines by shift.

    python -m benchmarks.unseen.pictures FOLDER docs/images

FOLDER: SmolLM2-135M as bfloat16 with its tokenizer.json.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from weightsmith.checkpoint import open_checkpoint
from weightsmith.checkpoint.data import TensorReader
from weightsmith.schemes import plain_view
from weightsmith.values.unseen.attention_names import attention_stacks
from weightsmith.values.unseen.head_width import head_width
from weightsmith.values.unseen.rotary import halved
from weightsmith.values.unseen.sampling import Sampler, finite, log_norms
from weightsmith.values.unseen.tokenizer_fit import MOST_PAIRS, pair_score, shifted_pairs
from weightsmith.values.unseen.vocabulary import near_pairs, read_vocabulary

if TYPE_CHECKING:
    from collections.abc import Sequence

_WIDTH, _HEIGHT, _LEFT, _BOTTOM, _TOP = 720, 240, 56, 44, 22
_COLOURS = ("#1f6feb", "#d1570b")
_EMBEDDING = "model.embed_tokens.weight"
_LAYER, _HEAD = 14, 64


def main() -> int:
    """Writes three files into the folder that the second argument names."""
    folder, target = Path(sys.argv[1]), Path(sys.argv[2])
    checkpoint = open_checkpoint(folder)
    with TensorReader(checkpoint) as reader:
        sampler = Sampler.of(plain_view(checkpoint), reader)
        for name, picture in (
            ("heads", _heads(sampler)),
            ("widths", _widths(sampler)),
            ("tokenizer", _tokenizer(sampler, folder)),
        ):
            (target / f"unseen-{name}.svg").write_text(picture, encoding="utf-8")
    return 0


def _heads(sampler: Sampler) -> str:
    (stack,) = attention_stacks(sampler.view.tensors)
    profile = log_norms(sampler.whole(stack.outputs[_LAYER]), 0)
    means = np.repeat(profile.reshape(-1, _HEAD).mean(axis=1), _HEAD)
    ticks = [(float(at), str(at)) for at in range(0, profile.size + 1, _HEAD)]
    series = [
        ("ln |column|", list(enumerate(profile.tolist()))),
        ("mean of 64", list(enumerate(means.tolist()))),
    ]
    return _drawn(f"{stack.outputs[_LAYER]}: columns", series, ticks)


def _widths(sampler: Sampler) -> str:
    (stack,) = attention_stacks(sampler.view.tensors)
    outputs = [log_norms(sampler.whole(name), 0) for name in stack.outputs]
    keys = [log_norms(sampler.whole(name), 1) for name in stack.keys]
    widths = [w for w in range(4, keys[0].size + 1, 2) if keys[0].size % w == 0]
    found = head_width(outputs, widths)
    assert found is not None
    steps = [(float(i), score.share) for i, score in enumerate(found.scores)]
    pairs = [(float(i), float(np.mean([halved(key, w) for key in keys]))) for i, w in enumerate(widths)]
    ticks = [(float(i), str(w)) for i, w in enumerate(widths)]
    series = [("o_proj: blocks of w", steps), ("k_proj: places within w / 2", pairs)]
    return _drawn("share of the variance by width w", series, ticks)


def _tokenizer(sampler: Sampler, folder: Path) -> str:
    vocabulary = read_vocabulary(folder / "tokenizer.json")
    assert vocabulary is not None
    rows = sampler.view.tensors[_EMBEDDING].shape[0]
    centre = finite(sampler.spread(_EMBEDDING, 1024, 16)).mean(axis=0)
    points = []
    for shift, pairs in shifted_pairs(near_pairs(vocabulary, MOST_PAIRS), rows).items():
        one, two = (finite(sampler.some(_EMBEDDING, [pair[i] for pair in pairs])) - centre for i in (0, 1))
        points.append((float(shift), pair_score(one, two).cosine))
    ticks = [(x, f"{x:+g}") for x, _ in points]
    return _drawn(
        "mean cosine of pairs, beyond unrelated ones, by what is added to each id", [("", points)], ticks
    )


def _drawn(
    title: str,
    series: Sequence[tuple[str, Sequence[tuple[float, float]]]],
    ticks: Sequence[tuple[float, str]],
) -> str:
    """A line for each of the series, over one x axis with these ticks; y from the least to the most."""
    points = [point for _, line in series for point in line]
    (x0, x1), (y0, y1) = ((min(v), max(v)) for v in zip(*points, strict=True))
    y0 = min(y0, 0.0) if y1 <= 1 and y0 > -1 and title.startswith(("share", "mean")) else y0

    def place(x: float, y: float) -> tuple[float, float]:
        across = _LEFT + (x - x0) / (x1 - x0) * (_WIDTH - _LEFT - 16)
        return across, _HEIGHT - _BOTTOM - (y - y0) / (y1 - y0) * (_HEIGHT - _BOTTOM - _TOP - 14)

    parts = [f'<text x="{_LEFT}" y="14" font-weight="bold">{title}</text>']
    for x, label in ticks:
        across, _ = place(x, y0)
        parts.append(
            f'<line x1="{across:.1f}" y1="{_TOP}" x2="{across:.1f}" y2="{_HEIGHT - _BOTTOM}" stroke="#ddd"/>'
        )
        parts.append(
            f'<text x="{across:.1f}" y="{_HEIGHT - _BOTTOM + 16}" text-anchor="middle">{label}</text>'
        )
    for y in (y0, (y0 + y1) / 2, y1):
        parts.append(f'<text x="{_LEFT - 6}" y="{place(x0, y)[1] + 4:.1f}" text-anchor="end">{y:.2f}</text>')
    for number, (name, line) in enumerate(series):
        path = " ".join(f"{a:.1f},{b:.1f}" for a, b in (place(x, y) for x, y in line))
        colour = _COLOURS[number]
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
        if name:
            at = _LEFT + number * 240
            parts.append(f'<text x="{at}" y="{_HEIGHT - 8}" fill="{colour}">{name}</text>')
    style = "font-family:system-ui,sans-serif;font-size:12px"
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" style="{style}" role="img">'
    return (
        "\n".join(
            [
                head,
                f"<title>{title}</title>",
                '<rect width="100%" height="100%" fill="#fff"/>',
                *parts,
                "</svg>",
            ]
        )
        + "\n"
    )


if __name__ == "__main__":
    raise SystemExit(main())
