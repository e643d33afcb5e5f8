"""Which destination a DST is, and that it is no part of the source."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from weightsmith.convert.destination.folder import LocalFolder
from weightsmith.convert.finish.staging import real_target
from weightsmith.errors import TargetRefused

if TYPE_CHECKING:
    from collections.abc import Sequence

    from weightsmith.checkpoint.place import Place
    from weightsmith.checkpoint.remote.path import RemotePath
    from weightsmith.convert.destination.bucket import Bucket
    from weightsmith.convert.destination.destination import Destination


def destination_of(target: Place, sources: Sequence[Place]) -> Destination:
    """The destination that a path or an address names; nothing is made. sources: folders that must stay as they are.

    Raises TargetRefused where it cannot be written to, or lies in the source, or the source in it.
    """
    if not isinstance(target, Path):
        return _in_store(target, sources)
    for source in sources:
        real, _ = real_target(source, target)
    return LocalFolder(real)


def _in_store(target: RemotePath, sources: Sequence[Place]) -> Destination:
    from weightsmith.checkpoint.remote.objects import Objects
    from weightsmith.convert.destination.oss import OssBucket
    from weightsmith.convert.destination.s3 import S3Bucket
    from weightsmith.convert.destination.store import StoreFolder

    objects = target.home.repository
    if not isinstance(objects, Objects):
        way_out = "name a folder, s3://BUCKET/PATH or oss://BUCKET/PATH"
        raise TargetRefused(target, "is read here, not written to", way_out)
    if objects.named:
        raise TargetRefused(target, "is the name of a file", "name a folder")
    for source in sources:
        _need_apart(source, target)
    kind = OssBucket if objects.address.scheme == "oss" else S3Bucket
    bucket: Bucket = kind(objects.store, objects.address.repository)
    return StoreFolder(target, objects.folder, bucket)


def _need_apart(source: Place, target: RemotePath) -> None:
    if isinstance(source, Path):
        return
    here, there = f"{target.text.rstrip('/')}/", f"{source.text.rstrip('/')}/"
    if here.startswith(there):
        raise TargetRefused(target, "lies in the source folder", "name a folder outside it")
    if there.startswith(here):
        raise TargetRefused(target, "contains the source folder", "name a folder beside it")
