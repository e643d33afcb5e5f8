"""Names for the objects of transformers, whose types are not checked: each alias says what an object is."""

from __future__ import annotations

from typing import Any, TypeAlias

# An instance and a subclass of transformers.PreTrainedModel, or of a class that travels with a checkpoint.
Model: TypeAlias = Any
ModelClass: TypeAlias = Any
# An instance and a subclass of transformers.PretrainedConfig.
ConfigObject: TypeAlias = Any
ConfigClass: TypeAlias = Any
# A tensor on the meta device: a shape without data.
MetaTensor: TypeAlias = Any
# An entry of the table by which transformers renames and splits tensors when it loads and saves.
WeightConversion: TypeAlias = Any
