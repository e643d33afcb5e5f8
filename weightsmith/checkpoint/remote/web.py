"""A folder or a file on any web server: nobody lists it, so that its files are asked for by name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from weightsmith.checkpoint.model_files import is_weights
from weightsmith.checkpoint.remote.address import in_url
from weightsmith.checkpoint.remote.http_content import HttpContent, Target
from weightsmith.checkpoint.remote.repository import http_fact
from weightsmith.errors import MissingInput

if TYPE_CHECKING:
    from weightsmith.checkpoint.remote.address import Address
    from weightsmith.checkpoint.remote.content import HttpRefusedError, Reach
    from weightsmith.checkpoint.remote.transport import Transport
    from weightsmith.errors import WeightsmithError

# What makes a model, and what is looked at beside it.
_NAMES = (
    "config.json",
    "generation_config.json",
    "model.safetensors.index.json",
    "model.safetensors",
    "pytorch_model.bin.index.json",
    "pytorch_model.bin",
    "adapter_config.json",
    "adapter_model.safetensors",
    "quant_model_description.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
    "vocab.json",
    "merges.txt",
    "tokenizer.model",
    "README.md",
    "LICENSE",
    "weightsmith.json",
)


@dataclass(frozen=True, slots=True)
class Web:
    """A folder. folder: its path on the host, without slashes around it. named: the file in it that was named."""

    address: Address
    transport: Transport
    folder: str
    named: str

    @classmethod
    def of(cls, address: Address, transport: Transport) -> Web:
        """What looks like weights or JSON is a file, and so is what was signed; else it is a folder."""
        folder, _, name = address.inner.rpartition("/")
        is_file = bool(name) and (is_weights(name) or name.endswith(".json") or bool(address.query))
        return cls(address, transport, *((folder, name) if is_file else (address.inner, "")))

    @property
    def base(self) -> str:
        return f"{self.address.host}/{self.folder}".rstrip("/")

    def files(self) -> None:
        return None

    def asked_for(self) -> tuple[str, ...]:
        own = (self.named,) if self.named else ()
        return tuple(dict.fromkeys((*own, *_NAMES)))

    def content(self, file: str, size: int | None, reach: Reach) -> HttpContent:
        query = f"?{self.address.query}" if file == self.named and self.address.query else ""
        path = in_url(f"{self.folder}/{file}".lstrip("/"))
        target = Target(f"{self.address.host}/{path}{query}", f"{self.base}/{file}")
        return HttpContent(self.transport, target, size, self.explain, reach)

    def explain(self, refused: HttpRefusedError, subject: str) -> WeightsmithError:
        if refused.status in (404, 410):
            way_out = "name the file of the weights, its index, or the folder of a model with the usual names"
            return MissingInput(subject, "no such file on the server", way_out)
        if refused.status in (401, 403):
            way_out = "download it with what you log in with, or name a signed link"
            return MissingInput(subject, f"may not be read ({http_fact(refused)})", way_out)
        return MissingInput(subject, http_fact(refused), "check the address")
