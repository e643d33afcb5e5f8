"""The element types of checkpoints: what safetensors, torch and people call them, and how wide they are."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ElementType:
    """One element type.

    safetensors: its name in that format (`safetensors/src/tensor.rs`, enum Dtype); None where the format lacks it.
    bits: of one element.
    torch: torch's name, which numpy and ml_dtypes share; None where torch has no such type.
    aliases: what else people call it.
    """

    safetensors: str | None
    bits: int
    torch: str | None
    aliases: tuple[str, ...] = ()

    @property
    def item_bytes(self) -> int:
        """Bytes of one element of a torch tensor; torch counts a byte of packed elements as one."""
        return max(1, self.bits // 8)


ELEMENT_TYPES = (
    ElementType("F4", 4, "float4_e2m1fn_x2"),
    ElementType("F6_E2M3", 6, None),
    ElementType("F6_E3M2", 6, None),
    ElementType("BOOL", 8, "bool"),
    ElementType("U8", 8, "uint8"),
    ElementType("I8", 8, "int8"),
    ElementType("F8_E5M2", 8, "float8_e5m2"),
    ElementType("F8_E4M3", 8, "float8_e4m3fn"),
    ElementType("F8_E8M0", 8, "float8_e8m0fnu"),
    ElementType("F8_E4M3FNUZ", 8, "float8_e4m3fnuz"),
    ElementType("F8_E5M2FNUZ", 8, "float8_e5m2fnuz"),
    ElementType("I16", 16, "int16"),
    ElementType("U16", 16, "uint16"),
    ElementType("F16", 16, "float16", ("f16", "fp16", "half")),
    ElementType("BF16", 16, "bfloat16", ("bf16",)),
    ElementType("I32", 32, "int32"),
    ElementType("U32", 32, "uint32"),
    ElementType("F32", 32, "float32", ("f32", "fp32", "float")),
    ElementType("C64", 64, "complex64"),
    ElementType("F64", 64, "float64", ("f64", "fp64", "double")),
    ElementType("I64", 64, "int64"),
    ElementType("U64", 64, "uint64"),
    # torch alone has these.
    ElementType(None, 128, "complex128"),
    ElementType(None, 32, "complex32"),
    ElementType(None, 8, "bits8"),
    ElementType(None, 16, "bits16"),
    ElementType(None, 8, "bits1x8"),
    ElementType(None, 8, "bits2x4"),
    ElementType(None, 8, "bits4x2"),
    ElementType(None, 8, "quint8"),
    ElementType(None, 8, "qint8"),
    ElementType(None, 32, "qint32"),
    ElementType(None, 8, "quint4x2"),
    ElementType(None, 8, "quint2x4"),
)

# safetensors name -> bits of an element.
BITS: dict[str, int] = {t.safetensors: t.bits for t in ELEMENT_TYPES if t.safetensors is not None}
# safetensors name -> torch's name, which is also what `dtype` and `torch_dtype` in a config.json say.
TORCH_NAMES: dict[str, str] = {t.safetensors: t.torch for t in ELEMENT_TYPES if t.safetensors and t.torch}
# torch's name -> the element type.
BY_TORCH_NAME: dict[str, ElementType] = {t.torch: t for t in ELEMENT_TYPES if t.torch is not None}

_SPELLINGS = {
    spelling: t.safetensors
    for t in ELEMENT_TYPES
    if t.safetensors is not None
    for spelling in (t.torch, *t.aliases)
    if spelling is not None
}


def safetensors_name(spelling: str) -> str | None:
    """The safetensors name of a dtype that somebody wrote, such as "bf16" or "torch.bfloat16"; None if unknown."""
    return _SPELLINGS.get(spelling.lower().removeprefix("torch."))
