"""What a sweep is: fields of the experiment, the values they take, and the trials that follow from them.

A sweep is read from a YAML file such as infra/sweeps/paper.yaml. `factors` varies one field at a time around a centre,
as Tables VII to IX do; `search` looks for the best of all fields together.
"""

import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import yaml

from dtcm import config
from dtcm.config import Experiment, with_overrides
from dtcm.errors import BadInput

SWEEPS = Path(__file__).parents[1] / "infra" / "sweeps"
FIXED = (
    "recipe", "data.root", "data.dataset", "data.format", "data.lists", "data.split", "data.other", "data.val_fraction",
    "data.test_fraction",
)  # fmt: skip
"""Fields that say what the data are, not how they are used; trials that differ in them do not compare."""


class Range(NamedTuple):
    """Numbers from low to high, both included."""

    low: float
    high: float
    log: bool = False


Values = tuple[Any, ...] | Range


@dataclass(frozen=True)
class Printed:
    """What the paper prints for the values of a field."""

    title: str
    figure: str
    values: tuple[float, ...]
    operations: tuple[float, ...] = ()
    """Of the enhancer alone, in 10^9."""


@dataclass(frozen=True)
class Sweep:
    """A sweep of experiments."""

    name: str
    base: Experiment
    """The centre of `factors`; what the fields of `search` leave open."""
    method: Literal["factors", "search"]
    fields: Mapping[str, Values]
    """By dotted name."""
    seeds: tuple[int, ...]
    points: int
    """Points that `search` proposes."""
    printed: Mapping[str, Printed]


class Trial(NamedTuple):
    """One training of a sweep; its name is that of its run."""

    name: str
    point: dict[str, Any]
    """Value of every field of the sweep."""
    experiment: Experiment


def read_sweep(
    place: str, base: Experiment, name: str = "", more: Sequence[str] = (), seeds: Sequence[int] = (0,)
) -> Sweep:
    """The sweep of a YAML file, around an experiment.

    Args:
        place: "paper", "joint", or path of a file.
        base: what the sweep leaves open.
        name: of the sweep; by default that of the file.
        more: further fields as YAML, such as "loss.w_col: [0.25, 0.5]" or
            "optim.lr: {low: 1e-5, high: 1e-3, log: true}".
        seeds: of each point.

    Raises BadInput for a file, a field or a value that does not exist.
    """
    path = Path(place) if place.endswith((".yaml", ".yml")) else SWEEPS / f"{place}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(file.stem for file in SWEEPS.glob("*.yaml")))
        raise BadInput(f"There is no sweep {place!r}; name one of {known}, or a YAML file.")
    values = _yaml(path.read_text(), str(path))
    for line in more:
        joining = _yaml(line, "--also")
        values["fields"] = {**values.get("fields", {}), **joining}
        # The print belongs to the values that the file has.
        values["printed"] = {name: part for name, part in values.get("printed", {}).items() if name not in joining}
    if not values.get("fields") or values.get("method") not in ("factors", "search"):
        raise BadInput(f"{path} needs `method: factors` or `method: search`, and `fields` with their values.")
    if not seeds or len(set(seeds)) < len(seeds):
        raise BadInput("Name every seed once, such as --seeds 0 1 2.")
    centre = {field: _value(field, value) for field, value in values.get("centre", {}).items()}
    fields = {field: _values(field, value, values["method"]) for field, value in values["fields"].items()}
    printed = {
        field: Printed(part["title"], part["figure"], tuple(part["values"]), tuple(part.get("operations", ())))
        for field, part in values.get("printed", {}).items()
    }
    base = with_overrides(base, {**centre, "seed": seeds[0]})
    points = int(values.get("points", 0))
    if values["method"] == "search" and points < 1:
        raise BadInput(f"{path} needs `points`, how many the search proposes.")
    return Sweep(name or path.stem, base, values["method"], fields, tuple(seeds), points, printed)


def factor_points(sweep: Sweep) -> list[dict[str, Any]]:
    """The centre, and each field's values with the others at the centre; no point twice."""
    known = config.flatten(sweep.base)
    centre = {name: known[name] for name in sweep.fields}
    varied = [{**centre, name: value} for name, values in sweep.fields.items() for value in values]
    return [point for i, point in enumerate([centre, *varied]) if point not in [centre, *varied][:i]]


def corner_points(sweep: Sweep) -> list[dict[str, Any]]:
    """For each field of a search its choices or both ends, with the others at their first; what is checked before."""
    ends = {name: v[:2] if isinstance(v, Range) else v for name, v in sweep.fields.items()}
    first = {name: values[0] for name, values in ends.items()}
    return [first | {name: value} for name, values in ends.items() for value in values]


def trial(sweep: Sweep, point: Mapping[str, Any], seed: int) -> Trial:
    """The trial of a point with a seed."""
    point = {name: _value(name, point[name]) for name in sweep.fields}
    experiment = with_overrides(sweep.base, {**point, "seed": seed})
    return Trial(f"{sweep.name}-{config.sha256(experiment)[:8]}", point, experiment)


def definition(sweep: Sweep) -> dict[str, Any]:
    """What decides a sweep's trials, as plain values for JSON."""
    fields = {name: v._asdict() if isinstance(v, Range) else list(v) for name, v in sweep.fields.items()}
    base = config.to_dict(replace(sweep.base, recipe=""))
    return {"method": sweep.method, "seeds": list(sweep.seeds), "fields": fields, "experiment": base}


def short(value: Any) -> str:
    """A field's value as tables and lines show it."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _yaml(text: str, where: str) -> dict[str, Any]:
    try:
        values = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise BadInput(f"{where} is not YAML: {str(error).splitlines()[0]}.") from error
    if not isinstance(values, dict):
        raise BadInput(f"{where} must be a mapping, such as `loss.alpha: [0.1, 1]`.")
    return values


def _values(name: str, values: Any, method: str) -> Values:
    """What a field takes: a list of values, or for a search also a range."""
    if isinstance(values, list) and values:
        found = tuple(_value(name, value) for value in values)
        if len(set(found)) < len(found):
            raise BadInput(f"A value of {name} is named twice: {values}.")
        return found
    if method == "search" and isinstance(values, dict) and {"low", "high"} <= set(values) <= {"low", "high", "log"}:
        low, high, log = _value(name, values["low"]), _value(name, values["high"]), bool(values.get("log", False))
        if not isinstance(low, (int, float)) or not low < high or (log and low <= 0):
            raise BadInput(f"{name} cannot range from {low} to {high}; low must be below high, and above 0 with log.")
        return Range(low, high, log)
    wanted = "a list of values" + (" or {low, high, log}" if method == "search" else "")
    raise BadInput(f"{name} needs {wanted}, not {values!r}.")


def _value(name: str, value: Any) -> Any:
    """A value as the field's type has it. Raises BadInput for a field or value that cannot be."""
    with_overrides(Experiment(), {name: None})
    if name in FIXED or name == "seed":
        raise BadInput(f"{name} cannot be swept" + ("; seeds are named with --seeds." if name == "seed" else "."))
    part, _, leaf = name.rpartition(".")
    hint = typing.get_type_hints(type(getattr(Experiment(), part)))[leaf]
    kinds = typing.get_args(hint) or (hint,)
    try:
        if typing.get_origin(hint) is Literal:
            return kinds[kinds.index(value)]
        if value is None and type(None) in kinds:
            return None
        if typing.get_origin(hint) is tuple:
            return tuple(value)
        if isinstance(value, bool) != (hint is bool) or (hint is int and int(value) != float(value)):
            raise ValueError
        return kinds[0](value)  # YAML reads 1e-5 as text
    except (ValueError, TypeError, IndexError) as error:
        shown = " or ".join(str(getattr(kind, "__name__", kind)) for kind in kinds)
        raise BadInput(f"{name} cannot be {value!r}; it is {shown}.") from error
