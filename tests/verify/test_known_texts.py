"""What a verification asks known texts: quickly, of every setting and order, and without a false word."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import pytest

from tests.models.corpus import FACTS
from tests.verify.conftest import TERNARY
from tests.verify.test_orders import SMALL, chance
from tests.verify.test_reference_layers import saved
from weightsmith.behaviour_finding import WEIGHTS_ORDER, BehaviourFinding, Exclusion
from weightsmith.verify import known_texts
from weightsmith.verify.inputs.prompts import Prompt
from weightsmith.verify.known_texts import KnownTexts, answers, asked, check
from weightsmith.verify.likelihood.examine import Examination
from weightsmith.verify.likelihood.siblings import Lab
from weightsmith.verify.likelihood.texts import Text
from weightsmith.verify.likelihood.tokenized import Reading
from weightsmith.verify.reference.loading import Whole

if TYPE_CHECKING:
    from pathlib import Path

    from transformers import PreTrainedModel

    from weightsmith.verify.checks import Check

# What the tiny model was taught, as prompts with what is expected of them.
TAUGHT = tuple(Prompt(fact.prompt, fact.answer.strip()) for fact in FACTS[::12])


def silent(text: str, done: int = 0, total: int = 0, /) -> None:
    """Told what begins."""


def said_of(model: Path) -> KnownTexts:
    config = json.loads((model / "config.json").read_text(encoding="utf-8"))
    return asked(model, config, TAUGHT, silent)


def judged(model: Path) -> Check:
    found = said_of(model)
    assert found.why_not == ""
    return check(found, model)


def test_an_answer_is_written_as_its_language_is() -> None:
    prompts = (
        Prompt("1+1=", "2"),
        Prompt("The sky is", "blue"),
        Prompt("中国的首都是", "北京"),
        Prompt("Why?"),
    )
    assert answers(prompts) == {
        "0": Text(" 2", "1+1="),
        "1": Text(" blue", "The sky is"),
        "2": Text("北京", "中国的首都是"),
    }


def test_what_is_better_otherwise_fails_and_is_named() -> None:
    out = (Exclusion(10000.0, 0.2, 8.0),)
    wrong = BehaviourFinding(
        "rope_theta", "contradicted", 10000.0, 80000.0, (80000.0,), out, "is out", whole=False
    )
    right = BehaviourFinding(WEIGHTS_ORDER, "told", "", "", ("",), out, "all are worse", whole=False)
    failed = check(KnownTexts((wrong, right)), TERNARY)
    assert (failed.name, failed.verdict, failed.value) == ("known-texts", "fail", 1)
    assert "rope_theta: is out" in failed.detail
    assert "--behaviour" in failed.detail
    assert check(KnownTexts((right,)), TERNARY).verdict == "pass"


@pytest.mark.engine
def test_a_sound_model_passes(fused_folder: Path) -> None:
    assert judged(fused_folder).verdict == "pass"


@pytest.mark.engine
def test_an_embedding_off_by_one_is_named(fused_folder: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    model = tmp_path / "m"
    shutil.copytree(fused_folder, model)
    weights = load_file(model / "model.safetensors")
    table = "model.embed_tokens.weight"
    save_file({**weights, table: weights[table].roll(1, 0)}, model / "model.safetensors", {"format": "pt"})
    failed = judged(model)
    assert failed.verdict == "fail"
    assert f"the rows of {table} one place up" in failed.detail


@pytest.mark.engine
def test_where_long_texts_are_known_they_alone_are_compared() -> None:
    """What a model says is likelier with its own activation, also beside short answers, which are not read."""
    import torch
    from transformers import PretrainedConfig

    right = chance("llama", SMALL)
    texts = {str(n): Reading((), said_by(right, n, 6), 1) for n in range(20)}
    texts |= {f"long {n}": Reading((), said_by(right, n, 1500), 1) for n in range(2)}
    sibling = Lab(Whole(right), texts).sibling({**right.config.to_dict(), "hidden_act": "relu"})
    assert sibling is not None
    # Of so many tokens that any model would be at home in any text.
    asking = Examination(PretrainedConfig().to_dict(), 10**12, silent, within=1000.0)
    with torch.no_grad():
        found = asking.of(Lab(Whole(sibling), texts))
    assert found.setup.lab.texts.keys() == {"long 0", "long 1"}
    (activation,) = (one for one in found.findings() if one.name == "hidden_act")
    assert (activation.telling, activation.value, activation.best) == ("contradicted", "relu", "silu")


def said_by(model: PreTrainedModel, seed: int, tokens: int) -> tuple[int, ...]:
    import torch

    torch.manual_seed(seed)
    start = torch.tensor([[3 + seed % 20]])
    ids = model.generate(start, do_sample=True, min_new_tokens=tokens, max_new_tokens=tokens)
    return tuple(ids[0].tolist())


@pytest.mark.engine
def test_a_model_of_chance_is_not_judged(tmp_path: Path) -> None:
    model = saved(tmp_path / "m", "llama", {"vocab_size": 264})
    shutil.copy(TERNARY / "tokenizer.json", model)
    assert "knows none of the texts" in said_of(model).why_not


@pytest.mark.engine
def test_what_would_take_too_long_is_left_to_the_user(
    fused_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(known_texts, "_WITHIN", 1e-3)
    found = said_of(fused_folder)
    assert found.findings == ()
    assert "would take about" in found.why_not
    assert "infer-config" in found.why_not
