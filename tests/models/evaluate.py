"""Asks the tiny models all they were taught, rightly run and wrongly run, and prints what they get right."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

import torch
from corpus import FACTS
from train_hrm_text import FOLDER as HRM_TEXT
from train_hrm_text import PROMPT
from train_ternary_llama import FOLDER as TERNARY_LLAMA
from train_ternary_llama import GROUP_SIZE, TRUE_CONFIG, quantizer_module
from transformers import AutoModelForCausalLM, AutoTokenizer

from weightsmith.verify.inputs.prompts import BUILT_IN

LONGEST_ANSWER = 40  # tokens


class Answers(NamedTuple):
    """By prompt: the decoded text, and by how many nats the closest of its tokens beat the second best."""

    text: dict[str, str]
    margin: dict[str, float]


def with_true_config(target: Path, *, fused: bool) -> Path:
    """A copy of the ternary Llama that engines can load: config mended, weights fused or left latent."""
    shutil.copytree(TERNARY_LLAMA, target, ignore=shutil.ignore_patterns("*.py", "README.md"))
    shutil.copy(TRUE_CONFIG, target / "config.json")
    if fused:
        weights = torch.load(target / "pytorch_model.bin", weights_only=True)
        quantizer = quantizer_module().SteTernaryQuantizer(GROUP_SIZE)
        for name, weight in weights.items():
            if name.endswith("_proj.weight"):
                weights[name] = quantizer.quantize(weight)
        torch.save(weights, target / "pytorch_model.bin")
    return target


@torch.inference_mode()
def ask_transformers(folder: Path, template: str = "{}", *, prefix: bool = False) -> Answers:
    """Greedy answers in bf16; `prefix` lets the prompt attend to itself in both directions.

    Prompts of one length go together, so nothing is padded.
    """
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16)
    by_length: dict[int, dict[str, list[int]]] = defaultdict(dict)
    for prompt, _ in FACTS:
        ids = tokenizer(template.format(prompt)).input_ids
        by_length[len(ids)][prompt] = ids
    answers = Answers({}, {})
    for group in by_length.values():
        ids = torch.tensor(list(group.values()))
        mask = {"token_type_ids": torch.ones_like(ids)} if prefix else {}
        output = model(input_ids=ids, use_cache=True, **mask)
        tokens, margins = [], []
        for _ in range(LONGEST_ANSWER):
            best = output.logits[:, -1].float().topk(2)
            tokens.append(best.indices[:, 0])
            margins.append(best.values[:, 0] - best.values[:, 1])
            output = model(input_ids=tokens[-1][:, None], past_key_values=output.past_key_values)
        rows = zip(group, torch.stack(tokens, 1).tolist(), torch.stack(margins, 1).tolist(), strict=True)
        for prompt, row, gaps in rows:
            end = row.index(tokenizer.eos_token_id) if tokenizer.eos_token_id in row else LONGEST_ANSWER
            answers.text[prompt] = tokenizer.decode(row[:end])
            answers.margin[prompt] = min(gaps[: end + 1])
    return answers


def ask_vllm(folder: Path, template: str = "{}") -> dict[str, str]:
    """Greedy bf16 answers of a real vLLM on the CPU; whole prompts only, as a prefix-LM needs them."""
    os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")  # GiB
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
    # vLLM 0.32 uses AMX tiles without asking the kernel for them and dies of SIGILL where nothing else
    # has asked. torch asks, for this process only: so the engine has to live in it.
    os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
    torch.cpu._init_amx()
    from vllm import LLM, SamplingParams

    engine = LLM(
        str(folder),
        dtype="bfloat16",
        enforce_eager=True,
        max_model_len=1024,
        max_num_batched_tokens=4096,
        enable_chunked_prefill=False,
        enable_prefix_caching=False,
    )
    greedy = SamplingParams(temperature=0.0, max_tokens=LONGEST_ANSWER)
    outputs = engine.generate([template.format(prompt) for prompt, _ in FACTS], greedy)
    return {fact.prompt: output.outputs[0].text for fact, output in zip(FACTS, outputs, strict=True)}


def score(text: dict[str, str]) -> list[str]:
    """Facts answered to the letter, and built-in prompts whose answer has what is expected."""
    expected = [p for p in BUILT_IN if p.expect]
    facts = sum(text[prompt] == answer for prompt, answer in FACTS)
    built_in = sum(p.expect in text[p.text] for p in expected if p.expect)
    return [f"{facts}/{len(FACTS)} = {facts / len(FACTS):.1%}", f"{built_in}/{len(expected)}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--vllm", action="store_true", help="ask vLLM too and compare its answers")
    parser.add_argument("--answers", type=Path, help="write all answers to this JSON file")
    arguments = parser.parse_args()
    torch.set_num_threads(1)

    with tempfile.TemporaryDirectory() as scratch:
        fused = with_true_config(Path(scratch) / "fused", fused=True)
        latent = with_true_config(Path(scratch) / "latent", fused=False)
        found = {
            "ternary-llama, fused": ask_transformers(fused),
            "ternary-llama, latent": ask_transformers(latent),
            "hrm-text, prefix mask": ask_transformers(HRM_TEXT, PROMPT, prefix=True),
            "hrm-text, causal mask": ask_transformers(HRM_TEXT, PROMPT),
        }
        engine = {}
        if arguments.vllm:
            engine["ternary-llama, fused"] = ask_vllm(fused)
            engine["hrm-text, prefix mask"] = ask_vllm(HRM_TEXT, PROMPT)

    print(
        f"{'bf16':24}{'facts right':>18}{'built-in right':>16}{'least margin':>14}{'vLLM says the same':>32}"
    )
    for name, answers in found.items():
        margin = min(answers.margin[p.text] for p in BUILT_IN)
        same = ""
        if name in engine:
            facts = sum(engine[name][p] == answers.text[p] for p, _ in FACTS)
            built_in = sum(engine[name][p.text] == answers.text[p.text] for p in BUILT_IN)
            same = f"{facts}/{len(FACTS)} facts, {built_in}/{len(BUILT_IN)} built-in"
        facts_right, built_in_right = score(answers.text)
        print(f"{name:24}{facts_right:>18}{built_in_right:>16}{margin:>14.2f}{same:>32}")
    if arguments.answers:
        text = {name: answers.text for name, answers in found.items()}
        arguments.answers.write_text(json.dumps(text, ensure_ascii=False, indent=1), encoding="utf-8")
        print(f"answers: {arguments.answers}", file=sys.stderr)


if __name__ == "__main__":
    main()
