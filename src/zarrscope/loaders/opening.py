"""Why a store can't be opened: it is not there, is not ours, or a conversion has not finished."""

from __future__ import annotations

import json

from zarrscope.errors import MissingDataError, StoreError
from zarrscope.loaders.objects import StoredObject
from zarrscope.record import JOURNAL, ROOT
from zarrscope.storage import Storage


def unfinished(storage: Storage) -> StoreError | None:
    """Say how far the conversion of a store without a record is; None where none was begun."""
    try:
        plan = json.loads(bytes(StoredObject(storage, f"{JOURNAL}/plan.json").whole()))
        tasks = len(plan["tasks"])
    except MissingDataError:
        return (
            MissingDataError(f"{storage.url} is not a zarrscope store: there is no {ROOT} in it.")
            if (storage.size(ROOT) is None)
            else None
        )
    except (ValueError, KeyError, TypeError):
        tasks = 0
    done = sum(1 for _ in storage.keys(f"{JOURNAL}/receipts"))
    how_far = f"{done} of {tasks} tasks" if tasks else "its plan can't be read"
    return StoreError(
        f"{storage.url} holds an unfinished conversion ({how_far}). "
        "Run convert again to resume it, or pass --overwrite."
    )
