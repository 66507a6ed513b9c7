"""Paths and URLs: which ones are let in, where they lead, and what of them may be shown."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from zarrscope.errors import UsageError

SCHEMES = frozenset({"file", "s3", "gs", "gcs", "az", "abfs", "http", "https", "hf", "memory"})
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
LOCAL_RUN = 1 << 20  # bytes of one local read: enough to amortise the call, little enough to stay in cache
REMOTE_RUN = 64 << 20


def redact(url: str) -> str:
    """Strip user info, query and fragment: what may be logged, recorded and shown.

    >>> redact("https://me:secret@host.org/a.tar?X-Sig=1#f")
    'https://host.org/a.tar'
    >>> redact("data/a.tar"), redact("zip://a.tar::s3://key:secret@bucket/a.zip")
    ('data/a.tar', 'zip://a.tar::s3://bucket/a.zip')
    """
    if "::" in url:
        return "::".join(map(redact, url.split("::")))
    if not _SCHEME.match(url):
        return url
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit((parts.scheme, host, parts.path, "", ""))


def file_name(url: str) -> str:
    """Give the last part of a path or URL.

    >>> file_name("s3://bucket/crops.tar"), file_name("biosr_dataset/")
    ('crops.tar', 'biosr_dataset')
    """
    local = local_path(url)
    if local is not None:
        return local.resolve().name
    return PurePosixPath(redact(url).rstrip("/")).name


def local_path(url: str) -> Path | None:
    """Give the path of a local URL, and None for any other."""
    scheme = _SCHEME.match(url)
    if scheme is None:
        return Path(url).expanduser()
    if scheme[1].lower() == "file":
        return Path(urlsplit(url).path)
    return None


def check_scheme(url: str) -> None:
    """Let in what a user may type, and refuse the rest."""
    scheme = _SCHEME.match(url)
    if "::" in url or (scheme and scheme[1].lower() not in SCHEMES):
        raise UsageError(f"{redact(url)}: expected a path or a URL of {', '.join(sorted(SCHEMES))}.")


def filesystem_of(url: str, options: Mapping[str, Any]) -> tuple[Any, str]:
    """Give the fsspec file system of a URL and the path in it."""
    import fsspec

    try:
        filesystem, path = fsspec.core.url_to_fs(url, **options)
    except ImportError as error:
        raise UsageError(f"{redact(url)}: {error}") from None
    return filesystem, str(path)
