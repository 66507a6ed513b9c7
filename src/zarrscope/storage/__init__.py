"""One door to every URL: whole-object reads, range reads, and writes that are whole or absent.

Local paths go through ``os`` (positional reads, a temporary file, ``fsync``, ``os.replace``, ``fsync`` of the folder);
everything else through fsspec. Only schemes that a user types are let in, and no URL that leaves this room, in a
message or a record, carries user info, a query or a fragment.
"""

from zarrscope.storage.blob import Blob
from zarrscope.storage.tree import Storage
from zarrscope.storage.urls import LOCAL_RUN, REMOTE_RUN, SCHEMES, check_scheme, file_name, local_path, redact

__all__ = [
    "LOCAL_RUN",
    "REMOTE_RUN",
    "SCHEMES",
    "Blob",
    "Storage",
    "check_scheme",
    "file_name",
    "local_path",
    "redact",
]
