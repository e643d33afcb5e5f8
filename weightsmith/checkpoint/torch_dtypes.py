"""torch's names for element types and storages, and what they are in safetensors."""

from __future__ import annotations

from weightsmith.checkpoint.dtypes import BY_TORCH_NAME

# torch dtype → (bytes per element, safetensors name or None where the format has none).
DTYPES: dict[str, tuple[int, str | None]] = {
    name: (element.item_bytes, element.safetensors) for name, element in BY_TORCH_NAME.items()
}
# torch.<X>Storage → the dtype that it counts in; untyped storages count bytes.
STORAGES = {
    "FloatStorage": "float32",
    "DoubleStorage": "float64",
    "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16",
    "ByteStorage": "uint8",
    "CharStorage": "int8",
    "ShortStorage": "int16",
    "IntStorage": "int32",
    "LongStorage": "int64",
    "BoolStorage": "bool",
    "ComplexFloatStorage": "complex64",
    "ComplexDoubleStorage": "complex128",
    "QInt8Storage": "qint8",
    "QUInt8Storage": "quint8",
    "QInt32Storage": "qint32",
    "QUInt4x2Storage": "quint4x2",
    "QUInt2x4Storage": "quint2x4",
    "UntypedStorage": "uint8",
    "_UntypedStorage": "uint8",
}
