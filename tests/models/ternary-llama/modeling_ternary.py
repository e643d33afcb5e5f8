"""Quantization-aware Llama: every Linear but lm_head sees its weight through a ternary quantizer."""

import torch
from torch import nn
from torch.nn.functional import linear


class SteTernaryQuantizer(nn.Module):
    """Ternary fake quantization with a straight-through estimator; it has no parameters.

    A row is cut into groups of `group_size` consecutive input channels (-1: the whole row):
    s = max(mean(|W|), eps), Wq = clamp(round(W / s), -1, 1) * s. Forward gives Wq, backward passes by.
    """

    def __init__(self, group_size=128, eps=1e-5):
        super().__init__()
        self.group_size = group_size
        self.eps = eps

    def quantize(self, weight):
        groups = weight.float().reshape(
            weight.shape[0], -1, weight.shape[1] if self.group_size == -1 else self.group_size
        )
        scale = groups.abs().mean(dim=-1, keepdim=True).clamp(min=self.eps)
        codes = torch.clamp(torch.round(groups / scale), -1, 1)
        return (codes * scale.bfloat16().float()).reshape(weight.shape).to(weight.dtype)

    def forward(self, weight):
        return weight + (self.quantize(weight.detach().bfloat16().float()) - weight).detach()


class LinearQuantizer(nn.Linear):
    """A Linear that computes with the quantized weight and learns the latent one."""

    def __init__(self, in_features, out_features, bias=False, group_size=128):
        super().__init__(in_features, out_features, bias=bias)
        self.quantizer = SteTernaryQuantizer(group_size=group_size)

    def forward(self, x):
        return linear(x, self.quantizer(self.weight), self.bias)


def quantize_linears(model, group_size=128):
    """Puts a LinearQuantizer in the place of every Linear except lm_head; names of weights stay as they were."""
    for parent in model.modules():
        for name, child in parent.named_children():
            if type(child) is nn.Linear and name != "lm_head":
                with torch.device("meta"):
                    replacement = LinearQuantizer(
                        child.in_features, child.out_features, child.bias is not None, group_size
                    )
                replacement.weight, replacement.bias = child.weight, child.bias
                setattr(parent, name, replacement)
    return model
