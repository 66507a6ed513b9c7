"""The verbs in a shell. It parses, calls the library and prints: data to stdout, all else to stderr.

Exit codes: 0 done, 1 failed, 2 usage, 3 invalid data, 4 finished with quarantined members, 5 temporary, 130
interrupted and resumable.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

import zarrscope
from zarrscope.errors import UsageError, ZarrscopeError

FINISHED_WITH_QUARANTINE, INTERRUPTED = 4, 130
_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}


def say(text: str) -> None:
    """Tell the user something that is no data."""
    click.echo(text, err=True)


class Bytes(click.ParamType[int]):
    """A size such as ``2GB`` or ``500M``."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Read the number and its unit, powers of ten."""
        if isinstance(value, int):
            return value
        text = str(value).upper().removesuffix("B")
        number, unit = (text[:-1], text[-1]) if text[-1:] in _UNITS and text[-1:] else (text, "")
        try:
            return int(float(number) * _UNITS[unit])
        except (ValueError, OverflowError):
            self.fail(f"{value!r}: expected a size such as 2GB or 500MB.", param, ctx)


def _card(_: click.Context, __: click.Parameter, path: Path | None) -> dict[str, str]:
    import tomllib

    if path is None:
        return {}
    try:
        return {key: str(value) for key, value in tomllib.loads(path.read_text()).items()}
    except (OSError, ValueError) as error:
        raise click.BadParameter(f"{path}: expected TOML with license, citation, contact ({error}).") from None


def _pairs(_: click.Context, __: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    pairs = [value.partition("=") for value in values]
    if bad := [key for key, equals, _ in pairs if not equals]:
        raise click.BadParameter(f"{bad[0]}: expected KEY=VALUE.")
    return {key: value for key, _, value in pairs}


STORAGE = click.option(
    "--storage-option", "storage_options", multiple=True, metavar="KEY=VALUE", callback=_pairs, help="Handed to fsspec."
)
CHOICES = (
    click.option(
        "--where", metavar="EXPR", help="Take only samples for which this holds, e.g. \"protein == 'psd95'\"."
    ),
    click.option("--limit", type=click.IntRange(1), metavar="N", help="At most N samples of each sample set."),
    click.option("--recipe", metavar="NAME", help="Which recipe to use, where content does not tell."),
    click.option("--codec", default="zstd:1", show_default=True, help="zstd:1 to zstd:22, or none."),
    click.option("--chunk", type=click.IntRange(1), metavar="N", help="Samples a chunk.  [default: 1]"),
    click.option(
        "--shard", type=click.IntRange(1), metavar="N", help="Samples a shard.  [default: 32 to 128 MB of pixels]"
    ),
    click.option("--keep", multiple=True, metavar="COLUMN", help="Keep a column that is dropped for privacy."),
    click.option("--salvage", is_flag=True, help="Take what stands before the break of a broken archive."),
    click.option("--workers", type=click.IntRange(1), metavar="N", help="Threads.  [default: one a processor]"),
    STORAGE,
)
SOURCES = click.argument("sources", nargs=-1, required=True, metavar="SOURCE...")
STORE = click.argument("store")


def with_choices(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options that plan and convert share."""
    for option in reversed(CHOICES):
        command = option(command)
    return command


class Verbs(click.Group):
    """Turns errors of ours into exit codes."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run a verb; an error becomes one message and its code."""
        try:
            return super().invoke(ctx)
        except ZarrscopeError as error:
            say(f"{type(error).__name__}: {error}")
            ctx.exit(error.exit_code)
        except KeyboardInterrupt:
            say("interrupted: nothing is lost. Run the same line again to go on.")
            ctx.exit(INTERRUPTED)
        except BrokenPipeError:
            raise  # whoever read stdout has left: click ends in silence
        except (TimeoutError, ConnectionError) as error:
            say(f"storage did not answer ({type(error).__name__}): run the same line again to go on.")
            ctx.exit(5)
        except OSError as error:
            from zarrscope.storage import redact

            told = f"{redact(str(error.filename))}: {error.strerror}" if error.filename else type(error).__name__
            say(f"{told}. What is written is safe: put it right and run the same line again.")
            ctx.exit(1)


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@click.version_option(zarrscope.__version__, prog_name="zarrscope")
def main() -> None:
    """Rewrite microscopy archives as sharded OME-Zarr and AnnData, proven and lazy.

    SOURCE and STORE are paths or URLs (s3://, gs://, az://, https://, hf://). A source is a folder, a tar, a zip, or a
    tar inside a zip; zip://INNER::OUTER names one archive inside another.
    """


@main.command()
@click.argument("folder", default="zarrscope-demo", type=click.Path(file_okay=False, path_type=Path))
def demo(folder: Path) -> None:
    """Make small archives, and convert, verify and open them.

    Nothing is downloaded. In the end it says what to type next.
    """
    click.echo(zarrscope.demonstrate(folder, say=say))


@main.command()
@SOURCES
@STORE
@with_choices
@click.option("--json", "as_json", is_flag=True, help="Print the plan as JSON.")
def plan(sources: tuple[str, ...], store: str, *, as_json: bool, **choices: Any) -> None:
    """Tell the size, objects and time of a conversion. Writes nothing."""
    from zarrscope.describe import plan_text
    from zarrscope.planning import to_json

    planned = zarrscope.plan(list(sources), store, **choices)
    click.echo(to_json(planned).decode() if as_json else plan_text(planned))


@main.command()
@SOURCES
@STORE
@with_choices
@click.option("--memory", type=Bytes(), metavar="SIZE", help="Memory that may be held, e.g. 2GB.")
@click.option("--dask", "address", metavar="ADDRESS", help="Run on this dask cluster in place of threads.")
@click.option(
    "--card",
    callback=_card,
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="TOML with license, citation and contact, for where the recipe says unknown.",
)
@click.option("--strict", is_flag=True, help="Stop at the first member that can't be decoded.")
@click.option("--overwrite", is_flag=True, help="Delete a store of ours that is there.")
def convert(sources: tuple[str, ...], store: str, *, address: str | None, **options: Any) -> None:
    """Convert sources into a store. Run the same line again to resume it."""
    from zarrscope.describe import record_text

    with _executor(address) as executor, _progress() as progress:
        record = zarrscope.convert(list(sources), store, executor=executor, progress=progress, say=say, **options)
    say(record_text(record))
    if record.counts.quarantined or any(element.quarantined for element in record.elements):
        sys.exit(FINISHED_WITH_QUARANTINE)


@main.command()
@STORE
@click.option("--source", "sources", multiple=True, metavar="URL", help="Compare with this source (repeatable).")
@click.option("--quick", is_flag=True, help="Only check that each object is there with its size.")
@click.option("--read-data", is_flag=True, help="Decode every chunk as well.")
@click.option("--manifest", is_flag=True, help="Print what `sha256sum -c` takes, and check nothing.")
@STORAGE
def verify(store: str, *, manifest: bool, **options: Any) -> None:
    """Prove a store, against its sources or else its digests.

    It says which, and names every row, member and object that is wrong.
    """
    if manifest:
        for line in zarrscope.manifest(store, storage_options=options["storage_options"]):
            click.echo(line)
        return
    click.echo(zarrscope.verify(store, say=say, **options))


@main.command()
@STORE
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@STORAGE
def info(store: str, *, as_json: bool, storage_options: dict[str, str]) -> None:
    """Tell what a store holds: images, statistics, licence, progress."""
    from zarrscope.describe import info_json, info_text

    found = zarrscope.info(store, storage_options=storage_options)
    click.echo(info_json(found) if as_json else info_text(found))


@main.command()
@STORE
@click.argument("out", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--by", metavar="COLUMN", help="One row of pictures for each value of this column.")
@click.option("--samples", metavar="NAME", help="Which sample set or image.")
@click.option("--columns", type=click.IntRange(1), default=8, show_default=True, help="Pictures a row.")
@STORAGE
def sheet(store: str, out: Path, **options: Any) -> None:
    """Draw a contact sheet as PNG, pairs side by side."""
    zarrscope.sheet(store, out, **options)
    click.echo(out)


def _executor(address: str | None) -> Any:
    from contextlib import contextmanager, nullcontext

    if address is None:
        return nullcontext(None)
    try:
        from distributed import Client
    except ImportError:
        raise UsageError("--dask needs the extra: pip install 'zarrscope[distributed]'.") from None

    @contextmanager
    def connected() -> Any:
        with Client(address) as client:
            yield client.get_executor()

    return connected()


def _progress() -> Any:
    from zarrscope.progress import bar, lines

    return bar() if sys.stderr.isatty() else lines(say)
