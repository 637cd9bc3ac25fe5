"""Command lines from the dataclasses of experiment and settings, and errors as one sentence."""

import argparse
import os
import select
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import tyro

from components.settings import redacted
from dtcm.config import Experiment, from_json
from dtcm.data.files import absolute, read_bytes
from dtcm.errors import BadInput, Stopped
from dtcm.recipes import RECIPES

Arguments = TypeVar("Arguments")

INTERRUPTED = "interrupted; the same command goes on from the last checkpoint"


def parse_with_recipe(
    defaults: Callable[[str], Arguments], argv: Sequence[str] | None = None, default: str = "sample"
) -> Arguments:
    """Arguments from the command line; `--recipe NAME` or `--from-config FILE` decides the defaults of the other flags.

    Args:
        defaults: gives the arguments of a recipe's name.
        argv: the command line; by default this process's.
        default: the recipe where none is named.
    """
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    first.add_argument("--recipe", choices=sorted(RECIPES), default=default)
    first.add_argument("--from-config", default="")
    argv = list(sys.argv[1:] if argv is None else argv)
    start = first.parse_known_args(argv)[0]
    arguments: Any = defaults(start.recipe)
    if start.from_config:
        arguments = replace(arguments, experiment=read_config(start.from_config))
    return tyro.cli(type(arguments), default=arguments, args=argv)


def read_config(place: str) -> Experiment:
    """The experiment of a JSON file, such as a run's config.json or a sweep's best.json, on disk or S3.

    Raises BadInput if it is not there, or is not an experiment.
    """
    try:
        return from_json(read_bytes(absolute(place)).decode())
    except FileNotFoundError as error:
        raise BadInput(f"There is no file {place!r}; name the JSON file of an experiment.") from error
    except (ValueError, AttributeError, TypeError, OSError) as error:
        raise BadInput(f"{place!r} is not the JSON file of an experiment ({error}).") from error


def run(main: Callable[[], None]) -> None:
    """Run an entry point, and end as shells know it.

    Bad input ends in its sentence and status 2, Ctrl-C with status 130 and SIGTERM with 143, all without a traceback;
    where nobody reads on what is printed, as after `... | head -1`, with status 1 and without a word.
    """
    try:
        try:
            _run(main)
        finally:
            sys.stdout.flush()  # what fails later, at Python's own end, is reported whatever is done here
    except BrokenPipeError:
        stdout = select.poll()
        stdout.register(sys.stdout, 0)
        if not stdout.poll(0):  # it is read, so another pipe or a socket broke
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


def _run(main: Callable[[], None]) -> None:
    try:
        main()
    except BadInput as error:
        print(redacted(f"error: {error}"), file=sys.stderr)
        sys.exit(2)
    except Stopped as stopped:
        print(stopped, file=sys.stderr)
        sys.exit(stopped.status)
    except KeyboardInterrupt:
        print(INTERRUPTED, file=sys.stderr)
        sys.exit(128 + signal.SIGINT)
    except SystemExit as end:
        if end.code != signal.SIGTERM:  # with which Ray answers this signal
            raise
        print(INTERRUPTED, file=sys.stderr)
        sys.exit(128 + signal.SIGTERM)
