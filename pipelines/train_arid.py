"""Train DTCM on dark videos, test it, and register the model.

With no arguments: the built-in sample set, on this machine, in minutes. ARID itself:
`python pipelines/train_arid.py --recipe arid-v1 --experiment.data.root /data/ARID`.
"""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field

from components.settings import Settings, redacted
from components.workflow import Result, describe_test, train_test_register
from dtcm.config import Experiment
from dtcm.recipes import RECIPES
from pipelines.command_line import parse_with_recipe, run


@dataclass(frozen=True)
class TrainArguments:
    """Train DTCM on dark videos, test it, and register the model."""

    recipe: str = "sample"
    """Named experiment from which the other flags start: sample, arid-v1, arid-v1-16x224, arid-v15,
    uavhuman-fisheye or dark48."""
    from_config: str = ""
    """JSON file of an experiment from which the other flags start, instead of a recipe: a run's config.json, or a
    sweep's best.json."""
    experiment: Experiment = field(default_factory=Experiment)
    settings: Settings = field(default_factory=Settings)


def main(argv: Sequence[str] | None = None) -> None:
    """Parse, train, and say where the results are."""
    arguments = parse_with_recipe(lambda recipe: TrainArguments(recipe, experiment=RECIPES[recipe]()), argv)
    describe(train_test_register(arguments.experiment, arguments.settings))


def describe(result: Result) -> None:
    """Print what the run did and where its results are."""
    print(
        f"\n{describe_test(result.test)}\n"
        f"Run folder: {result.run.folder.uri}\n"
        f"Registered: {result.model_version or _later(result)}\n"
        f"MLflow's page: mlflow server --backend-store-uri {redacted(result.tracking_uri)} --host 127.0.0.1 --port 5000"
    )


def _later(result: Result) -> str:
    place, uri = shlex.quote(result.run.folder.uri), shlex.quote(redacted(result.tracking_uri))
    return f"not yet, MLflow could not be reached; later: python pipelines/register_run.py {place} --tracking-uri {uri}"


if __name__ == "__main__":
    run(main)
