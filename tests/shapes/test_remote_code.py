"""Trusted code lies in the checkpoint's folder; where else a config points, nothing runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from weightsmith.errors import HostileCheckpoint
from weightsmith.shapes.reference.remote_code import own_code

if TYPE_CHECKING:
    from pathlib import Path


def test_classes_in_the_folder_are_its_own(tmp_path: Path) -> None:
    (tmp_path / "modeling_x.py").write_text("")
    auto_map = {"AutoConfig": "configuration_x.XConfig", "AutoTokenizer": ["tokenization_x.X", None]}
    assert own_code({"auto_map": auto_map}, tmp_path) == str(tmp_path)
    assert own_code({"model_type": "llama"}, tmp_path) is None


@pytest.mark.parametrize(
    "named",
    [
        "owner/repository--modeling_x.X",
        "/elsewhere--modeling_x.X",
        "../elsewhere/modeling_x.X",
        "/elsewhere/modeling_x.X",
        "below/modeling_x.X",
        "package.modeling_x.X",
        "X",
        "",
        "modeling_x.X\n",
    ],
)
@pytest.mark.parametrize("form", ["{}", "list", "inner"])
def test_any_other_place_is_refused(named: str, form: str, tmp_path: Path) -> None:
    config = {
        "{}": {"auto_map": {"AutoModel": named}},
        "list": {"auto_map": {"AutoTokenizer": [None, named]}},
        "inner": {"auto_map": {}, "parts": [{"text_config": {"auto_map": {"AutoModel": named}}}]},
    }[form]
    with pytest.raises(HostileCheckpoint, match="copy it into the folder"):
        own_code(config, tmp_path)


def test_a_link_may_lead_to_the_blobs_of_a_hub_cache_and_nowhere_else(tmp_path: Path) -> None:
    snapshot, blobs = tmp_path / "models--a--b" / "snapshots" / "0f", tmp_path / "models--a--b" / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    (blobs / "1234").write_text("")
    (snapshot / "modeling_x.py").symlink_to("../../blobs/1234")
    config = {"auto_map": {"AutoModel": "modeling_x.X"}}
    assert own_code(config, snapshot) == str(snapshot)
    (tmp_path / "elsewhere.py").write_text("")
    (snapshot / "helper.py").symlink_to(tmp_path / "elsewhere.py")
    with pytest.raises(HostileCheckpoint, match="leads out of the folder"):
        own_code(config, snapshot)
