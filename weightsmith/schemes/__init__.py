"""What packed weights stand for: which stored tensors make one weight, and its plain shape.

`plain_view` is the way in: a checkpoint's table with every packed module undone, by names, dtypes and shapes alone.
Each scheme has a file of its own; `registry` lists them. `dequantize` and `packed_words` hold the arithmetic of scales
and codes: they need numpy, and are therefore imported by themselves.

In all docstrings: N is the module's output width, K its input width, g the number of input channels that share a
scale. Sources of the layouts: the loaders of transformers, vLLM, AutoGPTQ, AutoAWQ, bitsandbytes and
compressed-tensors.
"""

from weightsmith.schemes.view import PackedModule, PlainView, packed_modules, packed_tensors, plain_view

__all__ = ["PackedModule", "PlainView", "packed_modules", "packed_tensors", "plain_view"]
