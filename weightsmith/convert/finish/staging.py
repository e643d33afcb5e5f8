"""A folder next to the target that becomes the target in one rename, or vanishes."""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import shutil
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from weightsmith.convert.finish.leftovers import MARKER, STAGING, adopt, clean_leftovers
from weightsmith.errors import TargetRefused
from weightsmith.process.durable import create_file, move_folder, sync_folder
from weightsmith.process.signals import signals_held_back, unwound_by_signals

if TYPE_CHECKING:
    from collections.abc import Iterator


def resolve_target(source: Path, target: Path) -> Path:
    """The real path to write, a symlink followed. Raises TargetRefused for a target that may not be replaced.

    source: a checkpoint folder, which must stay as it is, or a single file, beside which a folder may be made.
    """
    real = Path(os.path.realpath(target))
    root = Path(os.path.realpath(source))
    if root.is_dir() and (real == root or root in real.parents):
        raise TargetRefused(target, "lies in the source folder", "name a folder outside it")
    if real in root.parents:
        raise TargetRefused(target, "contains the source folder", "name a folder beside it")
    if real.exists() and not real.is_dir():
        raise TargetRefused(target, "is a file", "name a folder that does not exist yet")
    if not real.parent.is_dir():
        raise TargetRefused(target, f"its parent folder {real.parent} does not exist", "create it first")
    if not real.is_dir():
        return real
    try:
        occupied = next(real.iterdir(), None)
    except OSError as error:
        raise TargetRefused(target, f"cannot be read ({_reason(error)})", "name another folder") from error
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
    return real


@contextmanager
def staging(target: Path, resume: str | None = None) -> Iterator[Path]:
    """A locked folder next to `target`. Leave the block by `finish` or by an exception that removes it.

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
            folder = made[0][0]
            if adopted is None:
                create_file(folder / MARKER, b"")
            yield folder
        except OSError as error:
            raise refusal(target, error) from error
        except KeyboardInterrupt as interrupt:
            kept = next((folder for folder, _ in made if _has_finished_some(folder)), None)
            if kept is not None:
                interrupt.args = (f"what was finished is kept in {kept}: go on with --resume, or remove it",)
            raise
        finally:
            # The folder is gone after a finish; anything else leaves it here, to be removed.
            with signals_held_back():
                for folder, lock in made:
                    if folder != kept and _same_folder(folder, lock):
                        shutil.rmtree(folder, ignore_errors=True)
                    os.close(lock)


def finish(folder: Path, target: Path) -> None:
    """fsyncs the folder, renames it to `target` and fsyncs the parent: from here on the output exists, whole."""
    (folder / MARKER).unlink()
    sync_folder(folder)
    try:
        move_folder(folder, target)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
            raise TargetRefused(
                target, "was filled by someone else meanwhile", "name another folder"
            ) from error
        raise


def refusal(target: Path, error: OSError) -> TargetRefused:
    """The one line for an operating system error while writing."""
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
    while True:
        folder = target.parent / (STAGING.format(target.name) + secrets.token_hex(4))
        try:
            folder.mkdir(mode=0o777)
            lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileExistsError:
            continue
        except FileNotFoundError:
            if target.parent.is_dir():
                continue
            raise refusal(target, FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))) from None
        except OSError as error:
            raise refusal(target, error) from error
        with suppress(OSError):  # a file system without locks: work on, and never clean there
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(lock).st_nlink:
            return folder, lock
        os.close(lock)


def _has_finished_some(folder: Path) -> bool:
    """Whether the journal has a line for a weights file, below the one for the work."""
    with suppress(OSError):
        return (folder / MARKER).read_bytes().count(b"\n") > 1
    return False


def _same_folder(folder: Path, lock: int) -> bool:
    with suppress(OSError):
        return os.path.samestat(folder.lstat(), os.fstat(lock))
    return False


def _reason(error: OSError) -> str:
    return (error.strerror or type(error).__name__).lower()
