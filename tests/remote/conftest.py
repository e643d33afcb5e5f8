"""A hub for a test, an environment that knows nothing of the machine's own, and servers that are waited for briefly."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.remote.hub import Hub, serving
from weightsmith.checkpoint.remote import path as remote_path
from weightsmith.checkpoint.remote.transport import Patience

if TYPE_CHECKING:
    from collections.abc import Iterator

MODELS = Path(__file__).parent.parent / "models"
SOUND, LATENT = MODELS / "hrm-text", MODELS / "ternary-llama"
_NAMES = (
    "HF_TOKEN HUGGING_FACE_HUB_TOKEN HF_TOKEN_PATH HF_HUB_OFFLINE TRANSFORMERS_OFFLINE HF_HUB_CACHE "
    "HUGGINGFACE_HUB_CACHE "
    "HF_HUB_DISABLE_IMPLICIT_TOKEN HF_HUB_DOWNLOAD_TIMEOUT MODELSCOPE_API_TOKEN MODELSCOPE_ENDPOINT REQUESTS_CA_BUNDLE "
    "CURL_CA_BUNDLE SSL_CERT_FILE http_proxy https_proxy all_proxy HTTP_PROXY HTTPS_PROXY ALL_PROXY NO_PROXY no_proxy"
)


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in _NAMES.split():
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf-home"))
    monkeypatch.setenv("MODELSCOPE_CACHE", str(tmp_path / "modelscope"))


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """Two trained models; waits are short, so that a fault takes no time."""
    patience = Patience(timeout=2.0, first_wait=0.01, longest_wait=0.2)
    monkeypatch.setattr(remote_path, "Patience", lambda **given: patience)
    with serving(Hub({"org/sound": SOUND, "org/latent": LATENT})) as found:
        monkeypatch.setenv("HF_ENDPOINT", found.url)
        monkeypatch.setenv("MODELSCOPE_DOMAIN", found.url)
        yield found


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """Signed by itself, for 127.0.0.1."""
    file = tmp_path / "certificate.pem"
    command = (
        f"openssl req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=127.0.0.1 -addext subjectAltName=IP:127.0.0.1 "
        f"-keyout {tmp_path}/key.pem -out {tmp_path}/own.pem"
    )
    subprocess.run(command.split(), check=True, capture_output=True)
    file.write_text((tmp_path / "key.pem").read_text() + (tmp_path / "own.pem").read_text())
    return file
