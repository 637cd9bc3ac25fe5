"""Command lines from the dataclasses of experiment and settings, and errors as one sentence."""

import argparse
import sys
from collections.abc import Callable, Sequence
from typing import TypeVar

import tyro

from dtcm.errors import BadInput
from dtcm.recipes import RECIPES

Arguments = TypeVar("Arguments")


def parse_with_recipe(
    defaults: Callable[[str], Arguments], argv: Sequence[str] | None = None, default: str = "sample"
) -> Arguments:
    """Arguments from the command line; `--recipe NAME` decides the defaults of the other flags.

    Args:
        defaults: gives the arguments of a recipe's name.
        argv: the command line; by default this process's.
        default: the recipe where none is named.
    """
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    first.add_argument("--recipe", choices=sorted(RECIPES), default=default)
    argv = list(sys.argv[1:] if argv is None else argv)
    recipe = first.parse_known_args(argv)[0].recipe
    arguments = defaults(recipe)
    return tyro.cli(type(arguments), default=arguments, args=argv)


def run(main: Callable[[], None]) -> None:
    """Run an entry point: bad input ends in its sentence and status 2, without a traceback."""
    try:
        main()
    except BadInput as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from the last checkpoint", file=sys.stderr)
        sys.exit(130)
