"""A folder next to the target that becomes the target in one rename, or vanishes."""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import stat
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from weightsmith.convert.finish.leftovers import MARKER, STAGING, adopt, clean_leftovers, remove
from weightsmith.convert.finish.sealing import need_planned
from weightsmith.errors import TargetRefused
from weightsmith.process.durable import create_file, move_folder, sync_folder, through_descriptor
from weightsmith.process.signals import signals_held_back, unwound_by_signals

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from weightsmith.checkpoint.place import Place
    from weightsmith.convert.finish.sealing import Written

# A cleaner may be quicker a few times; a folder that never stays is no place to write in.
_ATTEMPTS = 100


def resolve_target(source: Place, target: Path) -> Path:
    """The real path to write, a symlink followed. Raises TargetRefused for a target that may not be replaced.

    source: a checkpoint folder, which must stay as it is, or a single file, beside which a folder may be made.
    """
    try:
        real = _real(source, target)
        _need_replaceable(real, target)
        return real
    except (OSError, ValueError) as error:
        raise refusal(target, error) from error


def real_target(source: Place, target: Path) -> tuple[Path, set[str]]:
    """(the real path of a target, what is in it): one that may be absent or hold anything. Raises TargetRefused."""
    try:
        real = _real(source, target)
        return real, {path.name for path in real.iterdir()} if real.is_dir() else set()
    except (OSError, ValueError) as error:
        raise refusal(target, error) from error


def _need_apart(root: Path, real: Path, target: Path) -> None:
    if root.is_dir() and (real == root or root in real.parents):
        raise TargetRefused(target, "lies in the source folder", "name a folder outside it")
    if real in root.parents:
        raise TargetRefused(target, "contains the source folder", "name a folder beside it")


def _real(source: Place, target: Path) -> Path:
    """The real path of a folder that may be made, apart from the source."""
    real = Path(os.path.realpath(target))
    if isinstance(source, Path):
        _need_apart(Path(os.path.realpath(source)), real, target)
    if real.exists() and not real.is_dir():
        raise TargetRefused(target, "is a file", "name a folder that does not exist yet")
    if not real.parent.is_dir():
        raise TargetRefused(target, f"its parent folder {real.parent} does not exist", "create it first")
    return real


def _need_replaceable(real: Path, target: Path) -> None:
    """Raises TargetRefused unless the folder is absent, or empty and can be replaced whole."""
    if not real.is_dir():
        return
    occupied = next(real.iterdir(), None)
    if occupied is not None:
        raise TargetRefused(
            target, f"is not empty (it holds {occupied.name})", "name a new or an empty folder"
        )
    if real.is_mount():
        raise TargetRefused(
            target, "is a mount point, which cannot be replaced whole", f"name a folder in it: {target}/model"
        )
    if real == Path.cwd():
        raise TargetRefused(
            target, "is the current folder, which cannot be replaced whole", "name a new folder"
        )


@dataclass(frozen=True, slots=True)
class StagingFolder:
    """The folder in which an output is made.

    named: its path. descriptor: holds its lock. path: the same folder through its descriptor, so that whoever
    exchanges what has its name gets nothing written to, nor read from, elsewhere.
    """

    named: Path
    descriptor: int

    @property
    def path(self) -> Path:
        return through_descriptor(self.descriptor, self.named)


@contextmanager
def staging(target: Path, resume: str | None = None) -> Iterator[StagingFolder]:
    """A locked folder next to `target`, which nobody else may enter.

    Leave the block by `finish` or by an exception that removes it.

    resume: the work whose folder, left by a killed run, is taken over if there is one; else it is a new one with
    nothing but the marker. A signal that ends the block leaves the folder where some of it is finished, and says so
    in the KeyboardInterrupt that it raises. Raises TargetRefused when the parent cannot be written or another run is
    writing the same target.
    """
    made: list[tuple[Path, int]] = []
    kept: Path | None = None
    with unwound_by_signals():
        try:
            with signals_held_back():
                adopted = adopt(target, resume) if resume is not None else None
                if adopted is not None:
                    made.append(adopted)
                clean_leftovers(target, adopted[0] if adopted is not None else None)
                if adopted is None:
                    made.append(_locked_folder(target))
            folder = StagingFolder(*made[0])
            if adopted is None:
                create_file(folder.path / MARKER, b"")
            yield folder
        except OSError as error:
            raise refusal(target, error) from error
        except KeyboardInterrupt as interrupt:
            kept = next((one[0] for one in made if _has_finished_some(StagingFolder(*one))), None)
            if kept is not None:
                interrupt.args = (f"what was finished is kept in {kept}: go on with --resume, or remove it",)
            raise
        finally:
            # The folder is gone after a finish; anything else leaves it here, to be removed.
            with signals_held_back():
                for named, lock in made:
                    if named != kept and _same_folder(named, lock):
                        with suppress(OSError):
                            remove(named, lock)
                    os.close(lock)


def finish(folder: StagingFolder, target: Path, planned: Mapping[str, Written], hash_name: str) -> None:
    """Compares the folder with what was planned, gives it the mode that the umask leaves, fsyncs and renames it.

    From here on the output exists, whole. Raises TargetRefused where the folder holds anything else.
    """
    (folder.path / MARKER).unlink()
    need_planned(folder, target, planned, hash_name)
    os.fchmod(folder.descriptor, usual_mode(folder))
    sync_folder(folder.path)
    try:
        if not _same_folder(folder.named, folder.descriptor):
            raise TargetRefused(target, "its unfinished folder was moved by another program", "run again")
        move_folder(folder.named, target)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
            raise TargetRefused(
                target, "was filled by someone else meanwhile", "name another folder"
            ) from error
        raise


def usual_mode(folder: StagingFolder) -> int:
    """The mode of a new folder there, by umask and what the folder hands down; asking for the umask would change it."""
    probe = f"mode-{secrets.token_hex(8)}"
    os.mkdir(probe, 0o777, dir_fd=folder.descriptor)
    mode = os.stat(probe, dir_fd=folder.descriptor, follow_symlinks=False).st_mode
    os.rmdir(probe, dir_fd=folder.descriptor)
    return stat.S_IMODE(mode)


def refusal(target: Place, error: OSError | ValueError) -> TargetRefused:
    """The one line for an operating system error while writing."""
    if not isinstance(error, OSError):
        return TargetRefused(target, f"cannot be a path ({error})", "name another folder")
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return TargetRefused(
            target, f"there is no space ({_reason(error)})", "free some or name another disk"
        )
    if error.errno == errno.EFBIG:
        return TargetRefused(
            target, "a file would be larger than allowed here", "use a smaller --max-shard-size"
        )
    if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
        # The output is made beside the target and renamed, so it is the parent that must be writable.
        return TargetRefused(
            target,
            f"{target.parent} cannot be written ({_reason(error)})",
            "name a folder inside one that you may write",
        )
    return TargetRefused(target, f"cannot be written ({_reason(error)})", "check the disk and the path")


def _locked_folder(target: Path) -> tuple[Path, int]:
    """A new folder and a descriptor that holds its lock.

    A cleaner may remove it between mkdir and flock; a removed folder has no links, so try again.
    """
    for _ in range(_ATTEMPTS):
        folder = target.parent / (STAGING.format(target.name) + secrets.token_hex(4))
        try:
            folder.mkdir(mode=0o700)
        except FileExistsError:
            continue
        try:
            lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            continue
        except OSError:
            with suppress(OSError):
                folder.rmdir()  # only an empty one, as ours still is
            raise
        with suppress(OSError):  # a file system without locks: work on, and never clean there
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(lock).st_nlink:
            return folder, lock
        os.close(lock)
    raise TargetRefused(target, f"no folder stays beside it ({_ATTEMPTS} were made)", "name another folder")


def _has_finished_some(folder: StagingFolder) -> bool:
    """Whether the journal has a line for a weights file, below the one for the work."""
    with suppress(OSError):
        return (folder.path / MARKER).read_bytes().count(b"\n") > 1
    return False


def _same_folder(folder: Path, lock: int) -> bool:
    with suppress(OSError):
        return os.path.samestat(os.lstat(folder), os.fstat(lock))
    return False


def _reason(error: OSError) -> str:
    return (error.strerror or type(error).__name__).lower()
