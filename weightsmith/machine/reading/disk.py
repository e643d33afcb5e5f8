"""The files of a machine, read by one who may lack rights there: what cannot be looked at is not there."""

from __future__ import annotations

from pathlib import Path


class Disk:
    """The files of a machine. root: where its `/` is, elsewhere than here in tests."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def at(self, path: str) -> Path:
        return self.root / path.lstrip("/")

    def name(self, path: Path) -> str:
        """The path as the machine itself has it."""
        return f"/{path.relative_to(self.root)}"

    def text(self, path: Path | str) -> str:
        """A small text file; empty where there is none."""
        place = self.at(path) if isinstance(path, str) else path
        try:
            with place.open(encoding="utf-8", errors="replace") as file:
                return file.read(1 << 16)
        except OSError:
            return ""

    def resolved(self, path: Path) -> Path:
        """Links followed; one that leads out of this root names the same file here."""
        for _ in range(8):
            try:
                link = path.readlink()
            except OSError:
                break
            path = self.at(str(link)) if link.is_absolute() else path.parent / link
        return path.parent.resolve() / path.name if self.is_folder(path.parent) else path

    def listed(self, folder: Path, pattern: str) -> list[Path]:
        """What of a folder fits a pattern, in order."""
        try:
            return sorted(folder.glob(pattern))
        except OSError:
            return []

    def is_folder(self, path: Path) -> bool:
        """Whether it is one, as far as this user may see: no right on the way there is no error."""
        try:
            return path.is_dir()
        except OSError:
            return False

    def is_file(self, path: Path) -> bool:
        """As `is_folder`, of a file."""
        try:
            return path.is_file()
        except OSError:
            return False

    def is_gone(self, path: Path) -> bool:
        """Whether nothing is there; False where this user may not look."""
        try:
            path.stat()
        except (FileNotFoundError, NotADirectoryError):
            return True
        except OSError:
            return False
        return False


HERE = Disk(Path("/"))
