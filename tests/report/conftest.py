"""The documents that the tests of reports and schemas share: made once."""

from __future__ import annotations

import pytest

from tests.report.printed import Document, documents
from tests.report.test_report import failing


@pytest.fixture(scope="session")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Document]]:
    """By command, what it printed."""
    made = documents(tmp_path_factory.mktemp("printed"))
    made["verify-on-npu"].append(failing(made["verify-on-npu"][0]))
    return made
