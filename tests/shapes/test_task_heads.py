"""Heads of other tasks: the class is kept or derived, and the rows of its head are the number of labels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.shapes.reference import tensor
from tests.shapes.test_packed import CONFIG, SIZES, in_memory, plain
from weightsmith.shapes import infer
from weightsmith.shapes.family.task_heads import task_heads
from weightsmith.shapes.learn.head_table import learned
from weightsmith.shapes.reference import meta_models
from weightsmith.shapes.reference.proof import check

if TYPE_CHECKING:
    from weightsmith.shapes import Inference

Shapes = dict[str, tuple[int, ...]]
H = SIZES["hidden_size"]
BODY = {name: shape for name, shape in plain().items() if name != "lm_head.weight"}
CLASSIFIER = {
    **CONFIG,
    "architectures": ["LlamaForSequenceClassification"],
    "id2label": {"0": "bad", "1": "good"},
}
ENCODER = {
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 96,
    "vocab_size": 300,
}


def read(shapes: Shapes, config: dict[str, Any] | None) -> Inference:
    return infer(in_memory({name: tensor(name, shape) for name, shape in shapes.items()}), config)


@pytest.mark.parametrize(
    ("model_type", "name"),
    [
        ("llama", "LlamaForSequenceClassification"),
        ("llama", "LlamaForQuestionAnswering"),  # whose body is called otherwise
        ("qwen2", "Qwen2ForTokenClassification"),
        ("bert", "BertForSequenceClassification"),  # with a pooler that the masked model lacks
        ("bert", "BertForTokenClassification"),
        ("bert", "BertModel"),  # whose names lack the word for the body
        ("bert", "BertForPreTraining"),
        ("electra", "ElectraForPreTraining"),
        ("xlm-roberta", "XLMRobertaForSequenceClassification"),  # whose head has two layers
        ("xlm-roberta", "XLMRobertaForQuestionAnswering"),
    ],
)
def test_the_class_of_a_head_is_kept_and_without_a_config_derived(model_type: str, name: str) -> None:
    meta_models.prepare()
    labels = {"num_labels": 3} if "Classification" in name else {}
    # By itself the class of qwen2 takes 32, which 4 heads cannot share.
    groups = {"num_key_value_heads": 4} if model_type == "qwen2" else {}
    config = {"model_type": model_type, "architectures": [name], **ENCODER, **labels, **groups}
    shapes = meta_models.build(name, meta_models.config_class(model_type).from_dict(config)).shapes
    found = read(shapes, config)
    assert found.verdict == "agrees" and found.config == config
    (wrong,) = read(shapes, {**config, "vocab_size": 320}).changes
    assert (wrong.name, wrong.derived) == ("vocab_size", 300)
    bare = read(shapes, None)
    stated = bare.config["architectures"]
    assert bare.verdict in ("derived", "guessed") and bare.config.get("num_labels", 2) == labels.get(
        "num_labels", 2
    )
    alike = {"xlm-roberta": "Roberta"}.get(model_type, "")
    assert stated == [name] or (alike and alike in str(stated)), (
        "types that no tensor tells apart share a head"
    )


@pytest.mark.parametrize("name", ["LlamaModel", "LlamaForCausalLM"])
def test_a_body_alone_agrees_under_its_own_class_and_under_that_of_the_whole_model(name: str) -> None:
    body = {key.removeprefix("model."): shape for key, shape in BODY.items()}
    found = read(body, {**CONFIG, "architectures": [name]})
    assert (found.verdict, found.changes) == ("agrees", ())
    assert any("only the body" in p.message for p in found.problems) == (name == "LlamaForCausalLM")


def test_a_body_alone_without_a_config_is_of_the_class_that_has_no_head() -> None:
    found = read({key.removeprefix("model."): shape for key, shape in BODY.items()}, None)
    assert found.config["architectures"] == ["LlamaModel"]
    assert "missing-tensors" not in {p.code for p in found.problems}


def test_where_the_classes_of_a_page_differ_the_one_that_has_these_tensors_is_derived() -> None:
    meta_models.prepare()
    config = {**ENCODER, "d_model": 64, "encoder_layers": 2, "decoder_layers": 2}
    for name in ("BartForCausalLM", "BartForConditionalGeneration"):
        shapes = meta_models.build(name, meta_models.config_class("bart").from_dict(config)).shapes
        assert read(shapes, None).config["architectures"] == [name]


def test_the_encoder_of_a_model_with_a_decoder_is_of_its_own_class() -> None:
    meta_models.prepare()
    sizes = {"d_model": 64, "d_kv": 16, "d_ff": 96, "num_layers": 2, "num_heads": 4, "vocab_size": 300}
    config = {"model_type": "t5", "architectures": ["T5EncoderModel"], **sizes}
    shapes = meta_models.build("T5EncoderModel", meta_models.config_class("t5").from_dict(config)).shapes
    assert read(shapes, config).verdict == "agrees"
    assert read(shapes, None).config["architectures"] == ["T5EncoderModel"]


@pytest.mark.parametrize(
    ("model_type", "name", "tied"),
    [
        ("bert", "BertForPreTraining", 2),
        ("albert", "AlbertForPreTraining", 2),
        ("t5", "T5EncoderModel", 1),
        ("bart", "BartModel", 2),
    ],
)
def test_a_class_that_was_saved_with_its_tied_tensors_is_that_class(
    model_type: str, name: str, tied: int
) -> None:
    """Releases up to 2022 repeat them: BERT's head for masked words, the embedding of T5's encoder."""
    meta_models.prepare()
    sizes = {"d_model": 64, "d_kv": 16, "d_ff": 96, "num_heads": 4, "encoder_layers": 2, "decoder_layers": 2}
    config = {"model_type": model_type, "architectures": [name], **ENCODER, **sizes}
    built = meta_models.build(name, meta_models.config_class(model_type).from_dict(config))
    assert len(built.copies) == tied
    shapes = {**built.shapes, **{copy: built.shapes[original] for copy, original in built.copies.items()}}
    bare = read(shapes, None)
    assert bare.config["architectures"] == [name]
    assert bare.verdict in ("derived", "guessed")
    assert read(shapes, dict(bare.config)).verdict == "agrees"


@pytest.mark.parametrize(("model_type", "classes"), [("qwen3", 4), ("roberta", 5)])
def test_the_table_is_what_the_installed_transformers_builds(model_type: str, classes: int) -> None:
    meta_models.prepare()
    rows = list(learned(model_type))
    table = {head.classes.get(model_type): head for head in task_heads()}
    assert len(rows) == classes
    for row in rows:
        head = table[row["class"]]
        assert head.head == row["head"] and head.lacks == set(row["lacks"])


@pytest.mark.usefixtures("asked_here")
def test_the_proof_is_of_the_class_that_the_config_names() -> None:
    checkpoint = in_memory({n: tensor(n, s) for n, s in {**BODY, "score.weight": (2, H)}.items()})
    proof = check(CLASSIFIER, checkpoint)
    assert proof.holds and proof.architecture == "LlamaForSequenceClassification"


def test_another_number_of_labels_is_corrected_where_the_file_lists_them() -> None:
    shapes = {**BODY, "score.weight": (3, H)}
    found = read(shapes, CLASSIFIER)
    names = {"0": "bad", "1": "good", "2": "LABEL_2"}
    assert found.verdict == "differs" and found.config["id2label"] == names
    assert (
        found.config["label2id"] == {"bad": 0, "good": 1, "LABEL_2": 2} and "num_labels" not in found.config
    )
    fewer = read({**BODY, "score.weight": (1, H)}, CLASSIFIER)
    assert fewer.config["id2label"] == {"0": "bad"}
    unsaid = {name: value for name, value in CLASSIFIER.items() if name != "id2label"}
    assert read(shapes, unsaid).config == {**unsaid, "num_labels": 3}
    assert read({**BODY, "score.weight": (2, H)}, CLASSIFIER).verdict == "agrees"


def test_a_class_whose_head_is_not_there_is_replaced() -> None:
    assert read(plain(), CLASSIFIER).config["architectures"] == ["LlamaForCausalLM"]
    found = read({**BODY, "score.weight": (2, H)}, CONFIG)
    assert found.config["architectures"] == ["LlamaForSequenceClassification"]


def test_whether_embeddings_are_tied_is_kept_where_no_output_matrix_could_tell() -> None:
    for tied in (True, False):
        config = {**CLASSIFIER, "tie_word_embeddings": tied}
        assert read({**BODY, "score.weight": (2, H)}, config).config == config


def test_a_class_that_transformers_lacks_is_kept() -> None:
    shapes = {**BODY, "score.weight": (1, H)}
    config = {**CONFIG, "architectures": ["LlamaForRewardModel"]}
    assert read(shapes, config).verdict == "agrees" and read(shapes, config).config == config
    parts = {"score.0.weight": (H, H), "score.0.bias": (H,), "score.2.weight": (1, H), "score.2.bias": (1,)}
    biases = {f"model.layers.{n}.self_attn.{p}_proj.bias": BODY[f"model.layers.{n}.self_attn.{p}_proj.weight"][:1]
              for n in range(2) for p in "qkv"}  # fmt: skip
    found = read({**BODY, **biases, **parts}, None)
    assert found.config["model_type"] == "qwen2" and found.config["architectures"] == ["Qwen2ForRewardModel"]


@pytest.mark.parametrize("head", ["v_head.summary", "value_head", "v_head"])
@pytest.mark.parametrize("prefix", ["", "pretrained_model."])
@pytest.mark.parametrize("beside", [True, False])
def test_a_value_head_is_told_beside_or_instead_of_the_output_matrix(
    head: str, prefix: str, beside: bool
) -> None:
    body = plain() if beside else BODY
    shapes = {f"{prefix}{name}": shape for name, shape in body.items()} | {f"{head}.weight": (1, H)}
    for name in ("LlamaForCausalLM", "AutoModelForCausalLMWithValueHead"):
        config = {**CONFIG, "architectures": [name], "tie_word_embeddings": False}
        found = read(shapes, config)
        assert (
            found.verdict == "agrees" and found.config == config and not found.architecture.unmatched_tensors
        )
        assert "value-head" in [p.code for p in found.problems]


def test_a_body_under_the_names_that_it_has_beside_a_head_is_untied_as_its_config_says() -> None:
    config = {**CONFIG, "architectures": ["LlamaModel"], "tie_word_embeddings": False}
    checkpoint = in_memory({name: tensor(name, shape) for name, shape in BODY.items()})
    assert infer(checkpoint, config).verdict == "agrees" and check(config, checkpoint).holds
    wrong = infer(checkpoint, {**config, "num_hidden_layers": 9})
    assert {row.name for row in wrong.changes} == {"num_hidden_layers"}
    generating = infer(checkpoint, {**config, "architectures": ["LlamaForCausalLM"]})
    assert generating.config["tie_word_embeddings"] is True
