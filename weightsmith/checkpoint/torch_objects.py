"""The names that torch's pickles use, and the inert values that stand for them.

Sources: torch/_utils.py (`_rebuild_*`: their arguments), torch/_tensor.py (`_reduce_ex_internal`: which is
used when) and torch/serialization.py (persistent ids).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn

from weightsmith.checkpoint.layout import shape_fault
from weightsmith.checkpoint.library_objects import LIBRARY_OBJECTS
from weightsmith.checkpoint.names import quoted
from weightsmith.checkpoint.pickle_state import MOST_STEPS, Inert
from weightsmith.checkpoint.torch_dtypes import DTYPES, STORAGES
from weightsmith.errors import CorruptCheckpoint, HostileCheckpoint, UnknownFormat

if TYPE_CHECKING:
    from collections.abc import Callable

# What training loops put beside their tensors: arguments, paths, times, settings. They hold values and do nothing.
_PATHS = ("PosixPath", "WindowsPath", "PurePosixPath", "PureWindowsPath")
_SETTINGS = {
    "argparse.Namespace",
    "types.SimpleNamespace",
    *(f"{module}.{name}" for module in ("pathlib", "pathlib._local") for name in _PATHS),
    *(f"datetime.{name}" for name in ("datetime", "date", "time", "timedelta", "timezone")),
    "decimal.Decimal",
    "uuid.UUID",
    "typing.Any",
    "torch.torch_version.TorchVersion",
    "omegaconf.dictconfig.DictConfig",
    "omegaconf.listconfig.ListConfig",
    "omegaconf.base.ContainerMetadata",
    "omegaconf.base.Metadata",
    *(
        f"omegaconf.nodes.{kind}Node"
        for kind in ("Any", "Boolean", "Enum", "Float", "Integer", "Path", "String")
    ),
    "yacs.config.CfgNode",
    "easydict.EasyDict",
    "addict.addict.Dict",
    "munch.Munch",
    "pytorch_lightning.utilities.parsing.AttributeDict",
    "lightning_fabric.utilities.data.AttributeDict",
    "lightning.fabric.utilities.data.AttributeDict",
    "transformers.training_args.TrainingArguments",
    "transformers.training_args.OptimizerNames",
    *(
        f"transformers.trainer_utils.{name}"
        for name in ("HubStrategy", "IntervalStrategy", "SaveStrategy", "SchedulerType")
    ),
}
# Values that training checkpoints hold beside their tensors; no tensor depends on them.
_INERT = (
    _SETTINGS
    | LIBRARY_OBJECTS
    | {
        "builtins.complex",
        "builtins.float",
        "builtins.int",
        "builtins.bool",
        "builtins.bytearray",
        "builtins.set",
        "builtins.frozenset",
        "builtins.list",
        "builtins.slice",
        "builtins.str",
        "_codecs.encode",
        "collections.Counter",
        "collections.defaultdict",
        "collections.deque",
        "numpy.dtype",
        "numpy.ndarray",
        "numpy.core.multiarray.scalar",
        "numpy.core.multiarray._reconstruct",
        "numpy._core.multiarray.scalar",
        "numpy._core.multiarray._reconstruct",
        "torch.device",
        "torch_npu.npu._format.Format",
    }
)
_TENSOR_TYPES = {
    "torch.Tensor",
    "torch._tensor.Tensor",
    "torch.nn.Parameter",
    "torch.nn.parameter.Parameter",
    "torch.nn.parameter.Buffer",
}
# torch names that are harmless but hold no plain dense tensor: what they are, and the way out.
_UNSUPPORTED = {
    "torch._utils._rebuild_sparse_tensor": ("a sparse tensor", "call .to_dense() on it and save again"),
    "torch._utils._rebuild_sparse_csr_tensor": ("a sparse tensor", "call .to_dense() on it and save again"),
    "torch.serialization._get_layout": ("a sparse tensor", "call .to_dense() on it and save again"),
    "torch._utils._rebuild_qtensor": ("a quantized tensor", "call .dequantize() on it and save again"),
    "torch._utils._rebuild_nested_tensor": ("a nested tensor", "call .to_padded_tensor() and save again"),
    "torch._utils._rebuild_wrapper_subclass": (
        "a tensor subclass",
        "name the folder with the files of all processes, or unwrap it and save plain tensors",
    ),
    "torch._utils._rebuild_device_tensor_from_numpy": ("a device tensor", "call .cpu() on it and save again"),
    "torch._utils._rebuild_xla_tensor": ("an XLA tensor", "call .cpu() on it and save again"),
}
# Packages whose tensor subclasses are found in files: quantizers, and sharded tensors of torch itself.
_SUBCLASSES = ("torchao.", "bitsandbytes.", "optimum.quanto.", "torch.distributed.")


@dataclass(frozen=True, slots=True)
class Name:
    """An allowed global: only its dotted name."""

    dotted: str


@dataclass(frozen=True, slots=True)
class DType:
    """`torch.<name>`."""

    name: str


@dataclass(frozen=True, slots=True)
class StorageType:
    """`torch.<X>Storage`; untyped storages count bytes."""

    dtype: str


@dataclass(frozen=True, slots=True)
class StorageRef:
    """A persistent id: `numel` elements of `dtype` under `key`.

    view: (first element, elements) of a legacy storage that is a window on the storage `key`.
    """

    key: str
    dtype: str
    numel: int
    view: tuple[int, int] | None


@dataclass(frozen=True, slots=True)
class TensorRef:
    """The arguments of a rebuild call. `storage` is None for a meta tensor, which has no bytes."""

    storage: StorageRef | None
    dtype: str
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class TorchVocabulary:
    """What the globals of one torch file stand for, and the storages that it has mentioned, by key."""

    __slots__ = ("copied", "storages", "subject")

    def __init__(self, subject: str) -> None:
        self.subject, self.copied = subject, 0
        self.storages: dict[str, StorageRef] = {}

    def find(self, module: str, name: str) -> object:
        """Raises UnknownFormat for torch's special tensors, HostileCheckpoint for all that is not listed."""
        # Python 2 named builtins so; protocol 2, torch.save's default, still does.
        if module == "__builtin__":
            module = "builtins"
        dotted = f"{module}.{name}"
        if dotted in _CALLS or dotted in _INERT or dotted in _TENSOR_TYPES:
            return Name(dotted)
        if module == "torch" and name in DTYPES:
            return DType(name)
        if module in {"torch", "torch.cuda", "torch.storage"} and name in STORAGES:
            return StorageType(STORAGES[name])
        if dotted in _UNSUPPORTED:
            what, way_out = _UNSUPPORTED[dotted]
            raise UnknownFormat(self.subject, f"holds {what} ({dotted})", way_out)
        if module.startswith(_SUBCLASSES):
            of_one = module.startswith("torch.distributed.")
            way_out = "in the program that wrote them, make them plain tensors and save again"
            raise UnknownFormat(
                self.subject,
                f"holds tensors of another package's type ({quoted(dotted)}; nothing was executed)",
                f"name the folder with the files of all processes, or, {way_out}" if of_one else way_out,
            )
        if module.startswith(("torch.nn.modules", "transformers.models")):
            raise HostileCheckpoint(
                self.subject,
                f"is a pickled module, not a state dict: it names {quoted(dotted)} (nothing was executed)",
                "only its own code could load it: where you trust that, save model.state_dict() instead",
            )
        raise HostileCheckpoint(
            self.subject,
            f"the pickle names {quoted(dotted)}, which no tensor file needs (nothing was executed)",
            "do not load it with torch.load; get safetensors or a clean state dict from a trusted source",
        )

    def call(self, callee: object, args: tuple[object, ...]) -> object:
        """Raises CorruptCheckpoint or HostileCheckpoint for arguments that torch never writes."""
        if isinstance(callee, Name):
            build = _CALLS.get(callee.dotted)
            if build is not None:
                return build(self, args)
            if callee.dotted in _INERT:
                return Inert(callee.dotted)
        shown = callee.dotted if isinstance(callee, Name) else type(callee).__name__
        raise HostileCheckpoint(
            self.subject,
            f"the pickle calls {shown}, which no tensor file does (nothing was executed)",
            "get safetensors or a clean state dict from a source that you trust",
        )

    def persistent(self, key: object) -> StorageRef:
        """('storage', type, key, location, numel) and, in legacy files, the view on it.

        Source: torch/serialization.py, `persistent_load`. The location (a device) does not matter here.
        """
        if type(key) is not tuple or len(key) not in (5, 6) or key[0] != "storage":
            self.refuse("a persistent id is none of torch's storages")
        kind, name, numel = key[1], key[2], key[4]
        if not isinstance(kind, StorageType) or type(name) is not str:
            self.refuse("a persistent id has no storage type or no key")
        if not _count(numel):
            self.refuse(f"the storage {quoted(name)} has {quoted(numel)} elements")
        view = None
        if len(key) == 6 and key[5] is not None:
            window = key[5]
            if (
                type(window) is not tuple
                or len(window) != 3
                or not _count(window[1])
                or not _count(window[2])
            ):
                self.refuse(f"the view on storage {quoted(name)} is malformed")
            view = (window[1], window[2])
        known = self.storages.get(name)
        if known and (known.dtype, known.numel) != (kind.dtype, numel):
            self.refuse(f"the storage {quoted(name)} is described in two ways")
        ref = StorageRef(name, kind.dtype, numel, view)
        if known == ref:
            return known
        self.storages[name] = ref
        return ref

    def key(self, key: object) -> None:
        """Tensors have names: entries under other keys (an optimizer's parameter numbers) are left out."""

    def refuse(self, fact: str) -> NoReturn:
        raise CorruptCheckpoint(
            self.subject, fact, "the file is damaged or was not written by torch.save; download it again"
        )


def _count(value: object) -> bool:
    """A whole number that fits into a signed 64-bit integer."""
    return type(value) is int and 0 <= value < 1 << 63


def _tensor(words: TorchVocabulary, args: tuple[object, ...], dtype: DType | None = None) -> TensorRef:
    """(storage, offset, size, stride, ...): what every version of `_rebuild_tensor` begins with.

    The last argument may be a dict of "math bits" (torch/_utils.py, `get_tensor_metadata`): the bytes then hold
    the conjugate or the negative of the values.
    """
    if len(args) < 4:
        words.refuse("a tensor is rebuilt from fewer than four values")
    bits = args[-1] if len(args) > 6 else None
    if isinstance(bits, dict) and (bits.get("conj") or bits.get("neg")):
        raise UnknownFormat(
            words.subject,
            "holds a tensor that is conjugated or negated lazily",
            "call .resolve_conj().resolve_neg() on it and save again",
        )
    storage, offset, shape, strides = args[:4]
    if not isinstance(storage, StorageRef):
        words.refuse("a tensor is rebuilt from something other than a storage")
    _checked_view(words, offset, shape, strides)
    return TensorRef(storage, dtype.name if dtype else storage.dtype, offset, shape, strides)  # type: ignore[arg-type]


def _checked_view(words: TorchVocabulary, offset: object, shape: object, strides: object) -> None:
    fault = shape_fault(shape)
    if fault or type(shape) is not tuple:
        words.refuse(f"a tensor is malformed: {fault or 'the shape is no tuple'}")
    if not _count(offset):
        words.refuse(f"a tensor starts at element {quoted(offset)} of its storage")
    if type(strides) is not tuple or len(strides) != len(shape) or not all(map(_count, strides)):
        words.refuse("a tensor has strides that are negative, too large or of another number than its axes")


def _tensor_v3(words: TorchVocabulary, args: tuple[object, ...]) -> TensorRef:
    """(storage, offset, size, stride, requires_grad, hooks, dtype, metadata): for newer dtypes."""
    if len(args) < 7 or not isinstance(args[6], DType):
        words.refuse("a tensor is rebuilt without a dtype")
    return _tensor(words, args, args[6])


def _meta(words: TorchVocabulary, args: tuple[object, ...]) -> TensorRef:
    """(dtype, size, stride, requires_grad)."""
    if len(args) < 3 or not isinstance(args[0], DType):
        words.refuse("a meta tensor is malformed")
    _checked_view(words, 0, args[1], args[2])
    return TensorRef(None, args[0].name, 0, args[1], args[2])  # type: ignore[arg-type]


def _parameter(words: TorchVocabulary, args: tuple[object, ...]) -> TensorRef:
    """(tensor, ...): a parameter, or a tensor that was copied from its device before it was saved."""
    if not args or not isinstance(args[0], TensorRef):
        words.refuse("a parameter is rebuilt from something other than a tensor")
    return args[0]


def _from_type(words: TorchVocabulary, args: tuple[object, ...]) -> object:
    """(function, type, arguments, state): a tensor that carries Python attributes, which are dropped here."""
    if len(args) != 4 or not isinstance(args[0], Name) or args[0].dotted not in _PLAIN_REBUILDS:
        words.refuse("a tensor with attributes is rebuilt by an unknown function")
    if not isinstance(args[1], Name) or args[1].dotted not in _TENSOR_TYPES or type(args[2]) is not tuple:
        words.refuse("a tensor with attributes is of an unknown type")
    return words.call(args[0], args[2])


def _dict(words: TorchVocabulary, args: tuple[object, ...]) -> object:
    """OrderedDict() and, from Python 2, OrderedDict([[key, value], ...])."""
    if not args:
        return {}
    pairs = args[0]
    if isinstance(pairs, dict):
        pairs = list(pairs.items())
    if len(args) != 1 or not isinstance(pairs, (list, tuple)):
        words.refuse("an OrderedDict is made from something other than pairs")
    # One list may be named by thousands of calls: the copies are counted, not the calls.
    words.copied += len(pairs)
    if words.copied > MOST_STEPS:
        raise HostileCheckpoint(
            words.subject,
            f"the pickle copies more than {MOST_STEPS:,} items between dictionaries (nothing was executed)",
            "no tensor file needs that; get safetensors from a source that you trust",
        )
    if not all(isinstance(pair, (list, tuple)) and len(pair) == 2 for pair in pairs):
        words.refuse("an OrderedDict is made from something other than pairs")
    return {key: value for key, value in pairs if type(key) is str}


def _size(words: TorchVocabulary, args: tuple[object, ...]) -> object:
    if len(args) != 1 or not isinstance(args[0], (tuple, list)):
        words.refuse("a torch.Size is made from something other than a tuple")
    # Not copied: sizes are short, and shape_fault looks at the length first.
    return args[0]


_CALLS: dict[str, Callable[[TorchVocabulary, tuple[object, ...]], object]] = {
    "collections.OrderedDict": _dict,
    "builtins.dict": _dict,
    "torch.Size": _size,
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_tensor_v3": _tensor_v3,
    "torch._utils._rebuild_meta_tensor_no_storage": _meta,
    "torch._utils._rebuild_parameter": _parameter,
    "torch._utils._rebuild_parameter_with_state": _parameter,
    "torch._utils._rebuild_device_tensor_from_cpu_tensor": _parameter,
    # torch_npu/utils/storage.py, before 2.1: the bytes are those of the CPU copy, in plain layout.
    "torch_npu.utils.storage._rebuild_npu_tensor": _tensor,
    "torch._tensor._rebuild_from_type_v2": _from_type,
    "torch.tensor._rebuild_from_type_v2": _from_type,
}
_PLAIN_REBUILDS = {name for name in _CALLS if name.startswith("torch._utils.")}
