"""What was verified, where it ran, and how others run it: facts without a verdict, and what was wrong in the config."""

from __future__ import annotations

from typing import TYPE_CHECKING

from weightsmith.formats import gibibytes
from weightsmith.phrases import Sentence, say
from weightsmith.report.blocks import Code, Column, Judged, Paragraph, Section, Table
from weightsmith.report.commands import commands, of_engine

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from weightsmith.phrases import Phrase
    from weightsmith.report.blocks import Block, Cell
    from weightsmith.report.document import Document

# What the report shows of a config, where it has them.
_FACTS = (
    "model_type",
    "architectures",
    "hidden_size",
    "num_hidden_layers",
    "num_layers_per_stack",
    "H_cycles",
    "L_cycles",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
    "intermediate_size",
    "vocab_size",
    "max_position_embeddings",
    "rope_theta",
    "rope_parameters",
    "rope_scaling",
    "rms_norm_eps",
    "tie_word_embeddings",
)
_SMALL = (1 << 30) // 10
# Settings of the engine that have a place of their own in the report.
_ELSEWHERE = frozenset({"versions", "eager_and_graphs", "arguments", "added", "variables"})


def model_sections(document: Document) -> Iterator[Section]:
    """The files, the config, and what was wrong in it."""
    yield Section(say("Model"), (fact_table(_model(document)),))
    if document.changes:
        yield Section(say("What the weights say of the config"), (_changes(document),), level=3)
    if document.model.hashes:
        rows = tuple(document.model.hashes.items())
        hashes = Table((Column(say("file")), Column("BLAKE3", "code")), rows)
        yield Section(say("Hashes"), (hashes,), level=3)


def environment_sections(document: Document) -> Iterator[Section]:
    """The machine, the versions on it, the variables, and the engine's settings."""
    yield Section(say("Environment"), (fact_table(_machine(document)),))
    versions = document.engine.versions or document.device.seen.packages
    python = {} if document.host is None else {"python": document.host.python}
    named = {**versions, **python, "weightsmith": document.weightsmith}
    rows: list[tuple[Cell, ...]] = list(named.items())
    references = document.parity.versions if document.vectors is None else document.vectors.versions
    rows += [(say("reference: {name}", name=name), v) for name, v in references.items()]
    yield Section(
        say("Versions"), (Table((Column(say("component")), Column(say("version"))), tuple(rows)),), level=3
    )
    yield Section(say("Environment variables"), tuple(_variables(document)), level=3)
    settings = {name: value for name, value in document.settings.items() if value and name not in _ELSEWHERE}
    if settings:
        table = fact_table(settings.items(), say("All settings, as read back from the running engine"))
        yield Section(say("Engine settings"), (table, *_additions(document)), level=3)


def use_sections(document: Document) -> Iterator[Section]:
    """How others serve it, what they need for it, and how they make this report again."""
    path = document.model.checkpoint.path if document.model.checkpoint else ""
    if document.ran and path:
        task = "generate" if document.vectors is None else document.vectors.task
        asked = of_engine(document.engine)
        if task != "generate" and "--runner" not in asked:
            asked += ("--runner", "pooling")
        made = commands(path, asked, document.engine.variables, task)
        blocks = (
            Paragraph(say("As a server, with the settings of this run:")),
            Code(made.serve, "sh"),
            Paragraph(say("A question to it:")),
            Code(made.ask, "sh"),
            Paragraph(say("The same engine in Python:")),
            Code(made.python, "python"),
        )
        yield Section(say("How to serve it"), blocks)
    if document.needs is not None:
        yield Section(say("What it needs"), tuple(_needs(document)))
    if document.command_line:
        words = say("This report is made of the result of one command; with --json it prints that result.")
        yield Section(say("How to repeat it"), (Code((document.command_line,), "sh"), Paragraph(words)))


def fact_table(rows: Iterable[tuple[Phrase | str, Cell]], folded: Phrase | None = None) -> Table:
    """What is what, a row each. folded: its title, where it is shown only when asked."""
    return Table((Column(say("fact")), Column(say("value"))), tuple(rows), folded)


def _model(document: Document) -> Iterator[tuple[Phrase | str, Cell]]:
    files = document.model.checkpoint
    if files is not None:
        yield say("path"), files.path
        yield say("format"), files.format
        yield say("parameters"), f"{files.parameters:,}"
        yield say("bytes of the weights"), f"{files.nbytes:,}"
        yield say("dtypes"), ", ".join(f"{dtype} {count:,}" for dtype, count in files.dtypes.items())
    yield say("kind"), document.model.kind
    yield from ((name, document.config[name]) for name in _FACTS if name in document.config)


def _changes(document: Document) -> Table:
    columns = (
        Column(say("setting")),
        Column(say("config.json"), "number"),
        Column(say("the weights"), "number"),
        Column(say("state")),
        Column(say("evidence"), "long"),
    )
    return Table(
        columns,
        tuple(
            (
                change.name,
                change.old,
                change.new,
                say("mended when it was converted") if change.mended else Judged("fail"),
                Sentence(change.evidence),
            )
            for change in document.changes
        ),
    )


def _machine(document: Document) -> Iterator[tuple[Phrase | str, Cell]]:
    device, host = document.device, document.host
    yield say("device"), f"{device.kind}: {device.name}"
    if device.seen.count is not None:
        yield say("devices"), str(device.seen.count)
        yield say("memory of each"), ", ".join(map(gibibytes, device.seen.memory))
    if host is not None:
        yield say("operating system"), host.system
        yield say("architecture"), host.architecture
        if host.memory is not None:
            yield say("memory of the machine"), gibibytes(host.memory)
        if device.kind == "npu" or host.driver:
            yield say("driver"), host.driver or say("not found")
            yield "CANN", host.cann or say("not found")
    if document.made:
        yield say("date"), document.made


def _variables(document: Document) -> Iterator[Block]:
    shell: Mapping[str, str] = {} if document.host is None else document.host.variables
    set_here = document.engine.variables
    rows = [(name, value, say("set for the engine")) for name, value in set_here.items()]
    rows += [(name, value, say("the shell's")) for name, value in shell.items() if name not in set_here]
    if rows:
        columns = (Column(say("variable"), "code"), Column(say("value"), "code"), Column(say("whose")))
        yield Table(columns, tuple(rows))


def _additions(document: Document) -> Iterator[Block]:
    engine = document.engine
    if engine.arguments is None:
        yield Paragraph(say("No arguments of an engine were given: weightsmith chose the settings."))
        return
    yield Paragraph(say("Started with the user's own arguments: {words}", words=" ".join(engine.arguments)))
    if engine.added:
        words = ", ".join(f"{name}={value}" for name, value in engine.added.items())
        yield Paragraph(say("Added for the test: {words}", words=words))


def _needs(document: Document) -> Iterator[Block]:
    needs = document.needs
    assert needs is not None
    rows: list[tuple[Phrase | str, Cell]] = [
        (say("engine"), needs.engine),
        (say("chip"), needs.chip),
        (say("verdict of fits"), needs.verdict),
        (say("weights on one card"), memory_text(needs.weights_bytes)),
        (say("KV cache per token"), f"{needs.kv_bytes_per_token:,} B"),
    ]
    if needs.context is not None:
        rows.append((say("longest sequence"), f"{needs.context:,}"))
        cache = needs.context * needs.kv_bytes_per_token
        rows.append((say("KV cache of the longest sequence"), memory_text(cache)))
    if needs.min_cards is not None:
        rows.append((say("fewest cards"), str(needs.min_cards)))
    yield Paragraph(say("Worked out from the headers by weightsmith fits, not measured."))
    yield fact_table(rows)


def memory_text(nbytes: int) -> str:
    """GiB, and MiB below a tenth of one."""
    return gibibytes(nbytes, 2) if nbytes > _SMALL else f"{nbytes / 2**20:.1f} MiB"
