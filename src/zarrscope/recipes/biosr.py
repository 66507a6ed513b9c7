"""BioSR as DeepTrackAI publishes it: 87,900 TIFF patches of 128 x 128, widefield and super-resolved, in a folder tree.

Training and validation patches pair by number. In the test part, nine levels of signal share one ground truth: rows
of ``test/wf`` carry their level and, as ``gt_row``, the row of their partner. Patches were normalised one by one, so
intensities can't be compared between them, and the pixel size is unknown.

Which cell, level and flip a training patch comes from is not published. The authors' script with its defaults gives
exactly the published counts, in the order cell > level > flip > patch; where the counts fit, that is kept in columns
named ``inferred_*``.

Source: DeepTrackAI/biosr_dataset; qc17-THU/DL-SR (the script).
"""

from __future__ import annotations

from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt

from zarrscope.errors import Problem, RecipeError
from zarrscope.model import Integers, Layout, SampleSet
from zarrscope.readers.tiff import decode_tiff
from zarrscope.recipe import Catalog, Decoded, Obs, Recipe, Stack, arrange, stack

PATTERN = (
    r"(?:.*/)?(?P<part>training|validate|test)_(?P<role>wf|gt)/"
    r"(?:level_(?P<level>[0-9]{1,2})/)?(?P<number>[0-9]{1,9})\.tiff?"
)
PARTS = {"training": "train", "validate": "validate", "test": "test"}
FLIPS = ("none", "up-down", "left-right", "both")
_CELLS = {"training": (30, 6), "validate": (5, 1), "test": (15, 1)}  # number of cells, number of the first
_LEVELS = 9


def layout(catalog: Catalog) -> Layout:
    """Two stacks a part, paired by row, and in the test part through ``gt_row``."""
    numbers = catalog.columns["number"].astype(np.int64)
    levels = np.where(catalog.columns["level"] == "", "0", catalog.columns["level"]).astype(np.int64)
    stacks: list[Stack] = []
    sets: list[SampleSet] = []
    findings: list[Problem] = []
    for part, name in PARTS.items():
        chosen = {role: _places(catalog, part, role, levels) for role in ("wf", "gt")}
        if not any(map(len, chosen.values())):
            continue
        for role, places in chosen.items():
            if not len(places):
                raise RecipeError(f"{catalog.sources[0].name}: the folder {part}_{role} is missing or empty.")
        keys = {role: _keys(numbers, levels, chosen[role], part, role) for role in chosen}
        findings += _holes(catalog, part, keys["gt"])
        if part == "test":
            stacks += _test(catalog, chosen, keys)
        else:
            stacks += _paired(catalog, part, chosen, keys)
        sets.append(
            SampleSet(
                name=name,
                images=(("wf", f"{name}/wf"), ("gt", f"{name}/gt")),
                through=(("gt", "gt_row"),) if part == "test" else (),
                check=() if part == "test" else ("number",),
            )
        )
    return arrange(catalog, stacks, sets=sets, findings=findings, unplaced=_misplaced(catalog, levels))


def _places(catalog: Catalog, part: str, role: str, levels: Integers) -> Integers:
    here = (catalog.columns["part"] == part) & (catalog.columns["role"] == role)
    return np.flatnonzero(here & ((levels > 0) == (part == "test" and role == "wf")))


def _misplaced(catalog: Catalog, levels: Integers) -> dict[int, str]:
    """Find the members whose folder has a level where it should not, or none where it should."""
    wanted = (catalog.columns["part"] == "test") & (catalog.columns["role"] == "wf")
    reason = "expected a level_NN folder in test_wf, and in no other"
    return dict.fromkeys(np.flatnonzero(wanted != (levels > 0)).tolist(), reason)


def _keys(numbers: Integers, levels: Integers, places: Integers, part: str, role: str) -> dict[tuple[int, int], int]:
    """Give the first place of each (level, number); a number written twice (1.tif, 01.tif) keeps its first place."""
    graded = part == "test" and role == "wf"
    keys: dict[tuple[int, int], int] = {}
    for place in places.tolist():
        keys.setdefault((int(levels[place]) if graded else 0, int(numbers[place])), place)
    return keys


def _holes(catalog: Catalog, part: str, keys: dict[tuple[int, int], int]) -> list[Problem]:
    found = {number for _, number in keys} - {0}
    last = max(found, default=0)
    if not (missing := last - len(found)):
        return []
    first = islice((number for number in range(1, last) if number not in found), 5)
    listed = ", ".join(map(str, first)) + (", ..." if missing > 5 else "")
    return [
        Problem(
            where=f"{catalog.sources[0].url}!/{part}_gt",
            kind="missing",
            message=f"{missing} numbers up to {last} are not there: {listed}",
        )
    ]


def _rows(keys: dict[tuple[int, int], int], wanted: list[tuple[int, int]], names: str) -> tuple[Integers, list[str]]:
    """Give the place of each wanted (level, number), -1 where it is missing, and the names that those should have."""
    places = np.array([keys.get(key, -1) for key in wanted], np.int64)
    missing = [
        names.format(level=key[0], number=key[1]) for key, place in zip(wanted, places, strict=True) if place < 0
    ]
    return places, missing


def _paired(
    catalog: Catalog, part: str, chosen: dict[str, Integers], keys: dict[str, dict[tuple[int, int], int]]
) -> list[Stack]:
    wanted = sorted(keys["wf"].keys() | keys["gt"].keys())
    numbers = np.array([number for _, number in wanted], np.int64)
    stacks = []
    for role in chosen:
        places, missing = _rows(keys[role], wanted, f"{part}_{role}/{{number:08d}}.tif")
        path = f"{PARTS[part]}/{role}"
        obs = {"number": numbers, **_inferred(part, numbers)}
        stacks.append(stack(catalog, path, places, role=role, obs=obs, missing=missing))
    return stacks


def _test(catalog: Catalog, chosen: dict[str, Integers], keys: dict[str, dict[tuple[int, int], int]]) -> list[Stack]:
    numbers = sorted({number for role in chosen for _, number in keys[role]})
    graded = [(level, number) for level in sorted({level for level, _ in keys["wf"]}) for number in numbers]
    plain = [(0, number) for number in numbers]
    row_of = {number: row for row, number in enumerate(numbers)}
    wf, wf_missing = _rows(keys["wf"], graded, "test_wf/level_{level:02d}/{number:03d}.tif")
    gt, gt_missing = _rows(keys["gt"], plain, "test_gt/{number:03d}.tif")
    each = np.array([number for _, number in graded], np.int64)
    obs: Obs = {
        "number": each,
        "level": np.array([level for level, _ in graded], np.int64),
        "gt_row": np.array([row_of[number] for _, number in graded], np.int64),
        **_inferred("test", each),
    }
    once = np.array(numbers, np.int64)
    return [
        stack(catalog, "test/wf", wf, role="wf", obs=obs, missing=wf_missing, classes="level"),
        stack(catalog, "test/gt", gt, role="gt", obs={"number": once, **_inferred("test", once)}, missing=gt_missing),
    ]


def _inferred(part: str, numbers: Integers) -> dict[str, npt.NDArray[Any]]:
    """Infer provenance from the number, where the count is a multiple of what the authors' loops give."""
    n, (cells, first) = len(np.unique(numbers)), _CELLS[part]
    step = cells if part == "test" else cells * _LEVELS * len(FLIPS)
    if n % step or int(numbers.max()) != n:
        return {}
    place = numbers - 1
    if part == "test":
        return {"inferred_cell": first + place // (n // cells)}
    cell, patch = n // cells, n // step
    level, flip = (place % cell) // (cell // _LEVELS), (place % (cell // _LEVELS)) // patch
    return {
        "inferred_cell": first + place // cell,
        "inferred_level": 1 + level,
        "inferred_flip": np.array(FLIPS, dtype=np.dtypes.StringDType())[flip],
    }


def decode(data: memoryview) -> Decoded:
    """Decode a TIFF; a trailing axis of length 1 is dropped by the reader. Nothing else in it is worth keeping."""
    return decode_tiff(data).pixels, {}


recipe = Recipe(
    name="biosr",
    version=1,
    title="BioSR patches: widefield and structured-illumination super-resolution, microtubules",
    license="CC-BY-4.0",
    citation="Qiao et al., Nature Methods 18, 194-202 (2021), https://doi.org/10.1038/s41592-020-01048-5; "
    "patches by DeepTrackAI/biosr_dataset",
    pattern=PATTERN,
    layout=layout,
    decode=decode,
)
