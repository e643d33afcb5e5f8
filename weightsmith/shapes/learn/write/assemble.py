"""Puts what was learned together as a page: the JSON object that docs/families.md describes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from weightsmith.shapes.learn.fit.equation import Equation
from weightsmith.shapes.learn.names import is_field
from weightsmith.shapes.learn.probe.builder import class_config, class_values
from weightsmith.shapes.learn.probe.drawing import length_field
from weightsmith.shapes.learn.probe.optional_parts import optional_parts
from weightsmith.shapes.learn.probe.trial_values import list_kinds
from weightsmith.shapes.learn.write.computed_defaults import computed_by_class
from weightsmith.shapes.learn.write.defaults import NoRule, default_rule
from weightsmith.shapes.learn.write.folding import folded
from weightsmith.shapes.learn.write.formatting import report_order, say_axis, say_condition
from weightsmith.shapes.learn.write.learned_page import LearnedPage
from weightsmith.shapes.page.expression import parse_condition
from weightsmith.shapes.page.field_names import owner_of
from weightsmith.shapes.page.pattern import name_key
from weightsmith.shapes.page.value import is_number
from weightsmith.shapes.reference.config_fields import flatten, parts_left_out
from weightsmith.shapes.reference.list_words import list_spellings
from weightsmith.shapes.reference.meta_models import version
from weightsmith.shapes.reference.synonyms import synonyms, yielding

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence, Set

    from weightsmith.shapes.learn.fit.equation import LearnedClass
    from weightsmith.shapes.learn.probe.builder import Lab
    from weightsmith.shapes.learn.probe.field_survey import FieldSurvey
    from weightsmith.shapes.learn.write.learned_page import TensorTexts
    from weightsmith.shapes.page.expression import Polynomial
    from weightsmith.shapes.page.list_spellings import ListSpellingDocument
    from weightsmith.shapes.page.value import Value


def name_text(equation: Equation) -> str:
    """The role's name with its slots: `model.layers.{layer:num_hidden_layers}.mlp.up_proj.weight`."""
    text = equation.role.literals[0]
    for (slot, count), literal in zip(equation.slots, equation.role.literals[1:], strict=True):
        text += "{" + f"{slot}:{say_axis(count)}" + "}" + literal
    return text


def shape_text(equation: Equation) -> str | list[str]:
    variants = []
    for shape, condition in equation.variants:
        axes = ", ".join(map(say_axis, shape))
        variants.append(f"{axes} if {say_condition(condition)}" if condition else axes)
    return variants[0] if len(variants) == 1 else variants


def assemble(
    found: FieldSurvey,
    learned: Sequence[LearnedClass],
    rules: Sequence[str],
    class_defaults: Mapping[str, Value],
    nulls: Mapping[str, Polynomial],
    spellings: Sequence[Mapping[str, str]] = (),
) -> LearnedPage:
    """The page; classes of one type that store different tensors become its layouts. learned: one per model class.

    rules: what every valid config obeys. class_defaults: every field of a config that states nothing. nulls: what
    stands for null in a field. spellings: other names that the tensors may have.
    """
    fields, unexpressed = _fields(found, learned, class_defaults, nulls)
    copies, optional = _copies(found, learned)
    first, shared, layouts = _layouts(learned, {*copies, *copies.values()})
    spelled, numbering, lists = _list_spellings(found, fields)
    unverifiable, kept = _unverifiable(found.lab, class_defaults, fields.keys(), numbering, rules)
    aliases = _aliases(found, fields, kept)
    return LearnedPage(
        model_type=found.lab.model_type,
        architectures=[part.architecture for part in learned],
        source=version(),
        fields=fields,
        unverifiable=unverifiable,
        rules=kept,
        choices=_choices(found, fields),
        base=_base(found, fields, class_defaults, kept),
        parts=optional_parts(found.lab, found.base),
        lists=lists,
        copies=copies,
        tensors=shared,
        optional={n: s for n, s in {**_old_buffers(first, lists), **optional}.items() if n not in first},
        spellings=list(spellings),
        aliases=aliases,
        yielding=yielding(found.lab.model_type, aliases),
        list_spellings=spelled,
        layouts=layouts,
        unexpressed=unexpressed,
    )


def _tables(learned: Iterable[LearnedClass]) -> dict[str, TensorTexts]:
    return {
        part.architecture: {name_text(e): shape_text(e) for e in part.equations.values()} for part in learned
    }


def _layouts(
    learned: Iterable[LearnedClass], apart: Set[str]
) -> tuple[TensorTexts, TensorTexts, dict[str, TensorTexts]]:
    """(tensors of the first class, those of every class, per class what the others have not).

    The last is empty where all of them store the same. apart: names of tied tensors, which stay one by one.
    """
    tables = _tables(learned)
    first = next(iter(tables.values()))
    shared = {n: s for n, s in first.items() if all(t.get(n) == s for t in tables.values())}
    own = {a: {n: s for n, s in table.items() if n not in shared} for a, table in tables.items()}
    layouts = {a: folded(table, apart) for a, table in own.items()} if any(own.values()) else {}
    return first, folded(shared, apart), layouts


def _aliases(found: FieldSurvey, fields: Iterable[str], rules: Iterable[str]) -> dict[str, str]:
    ruled = [name for rule in rules for name in sorted(parse_condition(rule).names)]
    return synonyms(found.lab.model_type, dict.fromkeys((*fields, *ruled)))


def _used_fields(learned: Iterable[LearnedClass]) -> set[str]:
    names: set[str] = set()
    for part in learned:
        for equation in part.equations.values():
            slots = {slot for slot, _ in equation.slots}
            for _, count in equation.slots:
                names |= count.fields() - slots
            for shape, condition in equation.variants:
                for axis in shape:
                    names |= axis.fields() - slots
                if condition:
                    names |= parse_condition(condition).names - slots
    return {owner_of(name) for name in names}


def _fields(
    found: FieldSurvey,
    learned: Sequence[LearnedClass],
    class_defaults: Mapping[str, Value],
    nulls: Mapping[str, Polynomial],
) -> tuple[dict[str, Value], dict[str, str]]:
    """(name → default, name → why none is expressed). A field that only a default reads is a field, too."""
    defaults: dict[str, Value] = {}
    unexpressed: dict[str, str] = {}
    waiting = sorted(_used_fields(learned))
    while waiting:
        name = waiting.pop()
        if name in defaults:
            continue
        own = class_defaults.get(name)
        try:
            stands_for = nulls.get(name) if own is None else None
            defaults[name] = f"= {say_axis(stands_for)}" if stands_for else default_rule(found, name, own)
        except NoRule as reason:
            defaults[name], unexpressed[name] = own, str(reason)
        default = defaults[name]
        if isinstance(default, str) and default.startswith("="):
            read = parse_condition(default[1:].strip()).names
            waiting += sorted(read & found.base.values.keys())
    flags = {n: not is_number(found.base.values.get(n, 0)) for n in defaults}
    unexpressed |= {name_key(name): why for part in learned for name, why in part.unexpressed.items()}
    return {n: defaults[n] for n in report_order(defaults, flags)}, unexpressed


def _unverifiable(
    lab: Lab,
    class_defaults: Mapping[str, Value],
    fields: Set[str],
    numbering: Set[str],
    rules: Iterable[str],
) -> tuple[dict[str, Value], list[str]]:
    """(settings that no shape depends on, with their defaults; the rules that read none but these and the fields).

    Those that must be stated have no default, and are not among them. A default that the class computes from other
    settings is null. numbering: settings that say a list of the page in another way.
    """
    kept, apart = {}, numbering | lab.required.keys()
    for name, value in class_defaults.items():
        last = name.rsplit(".", 1)[-1]
        aside = not is_field(name) and not last.endswith(("_eps", "epsilon", "initializer_range"))
        if name not in fields | apart and not aside and not name.startswith("_"):
            kept[name] = value
    kept |= dict.fromkeys(computed_by_class(lab.model_type, class_defaults, kept.keys()))
    return kept, [rule for rule in rules if parse_condition(rule).names <= fields | kept.keys()]


def _choices(found: FieldSurvey, fields: Mapping[str, Value]) -> dict[str, list[str]]:
    """Per field, the words that the reference was seen to build with."""
    choices = {}
    for name in fields:
        seen = [o.values.get(name) for o in found.lab.observations]
        words = [v for v in seen if isinstance(v, str)]
        for listed in seen:
            if isinstance(listed, tuple):
                words += [v for v in listed if isinstance(v, str)]
        if words:
            own = found.base.values.get(name)
            order = [*(list_kinds(found.words, name, own) if isinstance(own, tuple) else []), *words]
            choices[name] = list(dict.fromkeys(w for w in order if w in words))
    return choices


def _list_spellings(
    found: FieldSurvey, fields: Mapping[str, Value]
) -> tuple[list[ListSpellingDocument], set[str], dict[str, str]]:
    """(other ways to say the lists of words that shapes depend on, the settings that number layers for these, the
    count of every list but those)."""
    lists, choices = _lists(found, fields), _choices(found, fields)
    kinds = {n: words for n, words in choices.items() if isinstance(found.base.values.get(n), tuple)}
    spelled = list_spellings(found.lab.model_type, kinds, lists)
    numbering = {name for spelling in spelled for name in spelling.get("places", ())}
    return spelled, numbering, {name: count for name, count in lists.items() if name not in numbering}


def _base(
    found: FieldSurvey, fields: Mapping[str, Value], class_defaults: Mapping[str, Value], rules: Iterable[str]
) -> dict[str, Value]:
    """What a small config needs beside the page's fields: whatever the learner itself had to set.

    No constructor checks some of the rules, so that a config that the learner built may break them.
    """
    base: dict[str, Value] = {}
    for name, value in found.lab.base.items():
        usual = name in class_defaults and class_defaults[name] == value
        if name not in fields and (not usual or name.endswith(".model_type")):
            base[name] = value
    base |= found.lab.required
    for rule in map(parse_condition, rules):
        if rule.truth({**class_defaults, **base}) is False and rule.truth(class_defaults) is not False:
            base = {name: value for name, value in base.items() if name not in rule.names}
    stated = {n: v for n, v in found.lab.base.items() if n not in found.lab.hidden}
    # What the learner set beside the page's fields may go only with fields that are null by default, or with all.
    nulls = {n: v for n, v in stated.items() if n in class_defaults and class_defaults[n] is None}
    for some in (base, {**base, **nulls}):
        if class_config(found.lab.model_type, some) is not None:
            return some
    return stated


def _lists(found: FieldSurvey, fields: Mapping[str, Value]) -> dict[str, str]:
    """Lists whose length follows a count, whether shapes depend on their items or not."""
    lists = {}
    for name, value in found.base.values.items():
        if isinstance(value, tuple) and value and is_field(name):
            count = length_field(found, name)
            if count in fields and name.rsplit(".", 1)[-1] != "architectures":
                lists[name] = str(count)
    dims = [n for n in fields if n.rsplit(".", 1)[-1] == "head_dim"]
    for dim in dims:
        prefix = dim.removesuffix("head_dim")
        rope = found.base.values.get(f"{prefix}rope_parameters")
        if isinstance(rope, dict) and "partial_rotary_factor" not in rope and "rope_type" in rope:
            for key in ("rope_scaling", "rope_parameters"):
                for factor in ("short_factor", "long_factor"):
                    lists[f"{prefix}{key}.{factor}"] = f"{dim} // 2"
    return lists


def _old_buffers(tensors: TensorTexts, lists: Mapping[str, str]) -> dict[str, str]:
    """Checkpoints from before transformers 4.32 hold the rotary frequencies of every layer."""
    half = lists.get("rope_parameters.short_factor")
    ends = ".self_attn.q_proj.weight"
    return {
        n.removesuffix(ends) + ".self_attn.rotary_emb.inv_freq": half
        for n in tensors
        if half and n.endswith(ends)
    }


def _copies(
    found: FieldSurvey, learned: Sequence[LearnedClass]
) -> tuple[dict[str, str], dict[str, str | list[str]]]:
    """Tied tensors → what they repeat; those that are tied in every config are optional tensors of their own.

    What repeats the tensor of another layer is of its own role, whose condition says which layers have one.
    """
    copies: dict[str, str] = {}
    optional: dict[str, str | list[str]] = {}
    for part in learned:
        pairs = {
            (target, source)
            for o in found.lab.observations
            for target, source in o.copies[part.architecture].items()
        }
        for target, source in sorted(pairs):
            role, _ = part.roles.parse(target)
            origin, _ = part.roles.parse(source)
            equation, twin = part.equations.get(role), part.equations.get(origin)
            if role == origin:
                continue
            if equation is not None:
                copies[name_text(equation)] = name_text(twin) if twin else source
            elif twin is not None and len(role.literals) == len(origin.literals):
                alone = Equation(role, twin.slots, twin.variants)
                copies[name_text(alone)] = name_text(twin)
                optional[name_text(alone)] = shape_text(alone)
    return copies, optional


def defaults_of_class(model_type: str, base: Mapping[str, Value] | None = None) -> dict[str, Value]:
    """Every field of a config that states nothing but the types of its inner configs, and has all that it may have.

    An outer class may give an inner config that is left out whole other defaults than that one's own class; a file
    that states any of it gets the inner class's. base: what the page was learned from; another inner type than the
    outer class's own has defaults of its own.
    """
    config = class_config(model_type, {})
    if config is None:
        return {}
    plain = flatten(config)
    inner = {n: (base or {}).get(n, v) for n, v in plain.items() if n.endswith(".model_type") and v}
    inner |= {f"{section}.model_type": inside for section, inside in parts_left_out(config).items()}
    return (class_values(model_type, inner) or {}) if inner else plain
