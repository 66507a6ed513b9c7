"""One large picture becomes a pyramid on disk: seconds and peak memory, beside what others take for the same picture.

    python tests/benchmarks/write_pyramid.py --form deflate --peers ENVIRONMENT/bin/python
    python tests/benchmarks/write_pyramid.py --picture slide.tif --peers ENVIRONMENT/bin/python

Without ``--picture`` one of 12,000 x 12,000 RGB pixels that looks like stained tissue is made: tiles of 256 x 256 in
a TIFF, ``deflate`` or ``jpeg`` (this one needs imagecodecs), or a ``png``. ``--peers`` is the Python of an environment
that has ngff-zarr, ome-zarr, spatialdata and imagecodecs. Each writer is a process of its own; imports, and the
loading of compiled kernels, are not timed, files are in the cache, and zarrscope's shards are synced to the disk as in
a conversion (the others' are not). ngff-zarr's bin_shrink gives means of 2 x 2 too; ome-zarr-py's resize smooths. A PNG
has no other lazy reader: the others get it decoded by Pillow.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

OURS = ("zarrscope, 1 worker", "zarrscope, 2 workers")
PEERS = ("ngff-zarr", "ngff-zarr, sharded", "ome-zarr-py", "spatialdata")
CHUNK, SHARD = 512, 4096

FORMS = ("deflate", "jpeg", "png")


def zarrscope(picture: Path, target: Path, workers: int) -> Callable[[], object]:
    """Give what converts the picture with this package."""
    import zarr  # noqa: F401

    from zarrscope.readers.raster import open_raster
    from zarrscope.storage import Blob, Storage
    from zarrscope.writers.codec import Codec
    from zarrscope.writers.image import image_objects
    from zarrscope.writers.pyramid import pyramid_image, write_pyramid

    def act(picture: Path = picture, target: Path = target) -> None:
        raster = open_raster(Blob(str(picture)))
        image = pyramid_image(
            "picture", height=raster.height, width=raster.width, channels=raster.channels, dtype=raster.dtype.name
        )
        store, codec = Storage(str(target)), Codec.parse("zstd")
        write_pyramid(image, raster.bands(512, workers=workers), codec.encoder(), store.put, workers=workers)
        for key, data in image_objects(image, codec):
            store.put(key, data)

    with (
        tempfile.TemporaryDirectory() as folder
    ):  # loads the compiled kernels, as the imports of the others load theirs
        small = Path(folder) / f"small{picture.suffix}"
        make(small, 300, "png" if picture.suffix == ".png" else "deflate")
        act(small, Path(folder) / "small.zarr")
    return act


def lazily(picture: Path) -> object:
    """Give the picture as a dask array ``(c, y, x)``."""
    import dask.array as da

    if picture.suffix == ".png":
        from PIL import Image

        Image.MAX_IMAGE_PIXELS = None
        return da.from_array(np.asarray(Image.open(picture)), chunks=(2048, 2048, -1), name=False).transpose(2, 0, 1)
    import tifffile
    import zarr

    return da.from_zarr(zarr.open_array(tifffile.imread(picture, aszarr=True, level=0), mode="r")).transpose(2, 0, 1)


def steps(pixels: object) -> list[int]:
    """Give how much coarser each further level is, until both sides are below 512 pixels, as in ours."""
    side, found = max(pixels.shape), []
    while -(-side >> len(found)) >= 512:
        found.append(2 ** (len(found) + 1))
    return found


def ngff_zarr(picture: Path, target: Path, per_shard: int | None) -> Callable[[], object]:
    import ngff_zarr as nz

    def act() -> None:
        pixels = lazily(picture)
        image = nz.to_ngff_image(pixels, dims=["c", "y", "x"])
        levels = nz.to_multiscales(image, scale_factors=steps(pixels), method=nz.Methods.DASK_BIN_SHRINK, chunks=CHUNK)
        nz.to_ngff_zarr(target, levels, version="0.5", chunks_per_shard=per_shard)

    return act


def ome_zarr(picture: Path, target: Path) -> Callable[[], object]:
    import zarr
    from ome_zarr.writer import write_image

    def act() -> None:
        pixels = lazily(picture)
        write_image(
            pixels,
            zarr.open_group(target, mode="w"),
            scale_factors=steps(pixels),
            axes=["c", "y", "x"],
            storage_options={"chunks": (3, CHUNK, CHUNK)},
        )

    return act


def spatialdata(picture: Path, target: Path) -> Callable[[], object]:
    import spatialdata as sd
    from spatialdata.models import Image2DModel

    def act() -> None:
        pixels = lazily(picture)
        factors = [2 for _ in steps(pixels)]
        image = Image2DModel.parse(pixels, dims=("c", "y", "x"), scale_factors=factors, chunks=(3, CHUNK, CHUNK))
        sd.SpatialData(images={"picture": image}).write(target)

    return act


def writer(name: str, picture: Path, target: Path) -> Callable[[], object]:
    """Give what a writer does, with its imports done."""
    if name in OURS:
        return zarrscope(picture, target, 1 + OURS.index(name))
    if name == "ngff-zarr":
        return ngff_zarr(picture, target, None)
    if name == "ngff-zarr, sharded":
        return ngff_zarr(picture, target, SHARD // CHUNK)
    return ome_zarr(picture, target) if name == "ome-zarr-py" else spatialdata(picture, target)


def measure(name: str, picture: Path, target: Path) -> dict[str, float]:
    """Write once in this process; give seconds, the peak of memory, and what lies on the disk."""
    act = writer(name, picture, target)
    started = time.perf_counter()
    act()
    seconds = time.perf_counter() - started
    files = [path for path in target.rglob("*") if path.is_file()]
    unit = 1 if sys.platform == "darwin" else 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6
    stored = sum(path.stat().st_size for path in files) / 1e6
    return {"seconds": seconds, "peak": peak, "stored": stored, "objects": len(files)}


def in_a_process(python: str, name: str, picture: Path, scratch: Path | None) -> dict[str, float]:
    """Measure in a process of its own, with the Python of an environment."""
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        command = [
            python,
            "-W",
            "ignore",
            __file__,
            "--one",
            name,
            "--picture",
            picture,
            "--target",
            f"{folder}/p.zarr",
        ]
        told = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    found: dict[str, float] = json.loads(told.splitlines()[-1])
    return found


def paint(side: int) -> np.ndarray:
    """Give a picture like stained tissue on a bright slide: smooth structures, and grain."""
    random = np.random.default_rng(0)
    pixels = np.empty((side, side, 3), np.uint8)
    x = np.arange(side)
    for start in range(0, side, 500):
        y = np.arange(start, min(start + 500, side))[:, None]
        nuclei = np.sin(x / 17 + np.sin(y / 41)) * np.sin(y / 19 + np.sin(x / 67)) > 0.55
        tissue = np.sin(x / 2900 + 1) * np.sin(y / 3700 + 1) > 0.1
        for channel, (bright, stained, dark) in enumerate(((242, 205, 110), (241, 150, 80), (243, 190, 150))):
            plane = np.where(tissue, np.where(nuclei, dark, stained + 15 * np.sin((x + y) / 230)), bright)
            grain = random.normal(0, np.where(tissue, 5, 1.2), plane.shape)
            pixels[start : start + len(y), :, channel] = np.clip(plane + grain, 0, 255)
    return pixels


def make(path: Path, side: int, form: str) -> None:
    """Write the picture to a file."""
    pixels = paint(side)
    if form == "png":
        from PIL import Image

        Image.fromarray(pixels).save(path, compress_level=1)
        return
    import tifffile

    compression = "zlib" if form == "deflate" else form
    tifffile.imwrite(path, pixels, photometric="rgb", tile=(256, 256), compression=compression, bigtiff=True)


def main() -> None:
    """Measure each writer, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--picture", type=Path, help="a TIFF or a PNG")
    parser.add_argument("--form", choices=FORMS, default="deflate", help="of the picture that is made")
    parser.add_argument("--make", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--side", type=int, default=12_000, help="of the picture that is made")
    parser.add_argument("--peers", help="the Python of an environment that has the other writers")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--scratch", type=Path, help="where stores are written; temporary by default")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--target", type=Path, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.one is not None:
        print(json.dumps(measure(chosen.one, chosen.picture, chosen.target)))
        return
    if chosen.make is not None:
        make(chosen.make, chosen.side, chosen.form)
        return
    with tempfile.TemporaryDirectory(dir=chosen.scratch) as folder:
        picture = chosen.picture or Path(folder) / ("picture.png" if chosen.form == "png" else "picture.tif")
        if chosen.picture is None:
            python = chosen.peers or sys.executable
            line = [python, __file__, "--make", picture, "--side", str(chosen.side), "--form", chosen.form]
            subprocess.run(line, check=True)
        print(f"{os.cpu_count()} cores; the best of {chosen.runs}")
        print(f"{'':24}{'seconds':>9}{'peak MB':>9}{'stored MB':>11}{'objects':>9}")
        for name in (*OURS, *(PEERS if chosen.peers else ())):
            python = sys.executable if name in OURS else chosen.peers
            try:
                runs = [in_a_process(python, name, picture, chosen.scratch) for _ in range(chosen.runs)]
            except subprocess.CalledProcessError:
                print(f"{name:24}{'it failed, as said above':>36}", flush=True)
                continue
            best = min(runs, key=lambda run: run["seconds"])
            row = f"{name:24}{best['seconds']:9.2f}{best['peak']:9.0f}"
            print(f"{row}{best['stored']:11.0f}{best['objects']:9.0f}", flush=True)


if __name__ == "__main__":
    main()
