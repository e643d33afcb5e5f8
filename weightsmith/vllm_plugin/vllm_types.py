"""Names for the objects of vLLM and transformers that the adapter is handed.

Each is `Any` and stays so: the adapter works with three versions of vLLM and two of vllm-ascend, whose classes differ,
and neither is installed wherever the adapter is type-checked. The names tell the reader which object is meant.
"""

from __future__ import annotations

from typing import Any, TypeAlias

# vllm.config.VllmConfig, or anything with the same attributes.
VllmConfig: TypeAlias = Any
# vllm.config.CompilationConfig.
CompilationConfig: TypeAlias = Any
# The model's own configuration: HrmTextConfig of this package or of transformers.
HrmConfig: TypeAlias = Any
# A class of vllm.v1.attention.backend or of vllm_ascend.attention: AttentionBackend, AttentionImpl, and the builder.
BackendClass: TypeAlias = type[Any]
ImplementationClass: TypeAlias = type[Any]
BuilderClass: TypeAlias = type[Any]
# An object of an implementation class: one layer's attention.
Implementation: TypeAlias = Any
# What a backend's builder makes of one step's batch.
AttentionMetadata: TypeAlias = Any
# vllm.v1.request.Request.
Request: TypeAlias = Any
