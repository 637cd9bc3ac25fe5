"""A training state as files without pickle: weights and AdamW's moments in safetensors, the rest in JSON.

Files are bytes by name, so that whoever stores them decides where and how; see `components.storage`.
"""

import json
from collections.abc import Mapping
from typing import Any

import torch
from safetensors.torch import load, save
from torch import Tensor, nn

from dtcm.models.pretrained import head_names

WEIGHTS = "model.safetensors"
OPTIMIZER = "optimizer.safetensors"
PROGRESS = "progress.json"
AVERAGE = "average.safetensors"
"""The moving average of the weights, of a training that keeps one."""
BEST = "best.safetensors"
"""The weights of the best epoch, where that is not the step of the checkpoint itself."""


def pack(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    progress: Mapping[str, Any],
    average: nn.Module | None = None,
    best: bytes | None = None,
) -> dict[str, bytes]:
    """The files of a checkpoint.

    Args:
        model: its parameters and buffers are stored under their own names.
        optimizer: an optimizer whose state per parameter is tensors, such as AdamW.
        progress: plain values for JSON, such as step and epoch.
        average: the moving average of the model, see `dtcm.ema`.
        best: weights of the best epoch so far, as `weights_to_use` gives them; None if that is this one.
    """
    names = _parameter_names(model, optimizer)
    moments = {
        f"{key}/{names[index]}": torch.as_tensor(value)
        for index, state in optimizer.state_dict()["state"].items()
        for key, value in state.items()
    }
    files = {
        WEIGHTS: pack_weights(model),
        OPTIMIZER: save(_storable(moments)),
        PROGRESS: json.dumps(dict(progress), indent=2).encode(),
    }
    if average is not None:
        files[AVERAGE] = pack_weights(average)
    return files if best is None else files | {BEST: best}


def pack_weights(model: nn.Module) -> bytes:
    """The model's parameters and buffers as safetensors."""
    return save(_storable(model.state_dict()))


def unpack(
    files: Mapping[str, bytes],
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    average: nn.Module | None = None,
) -> dict[str, Any]:
    """Put the state of `pack` back into model, optimizer and average; returns the progress.

    Raises RuntimeError if names or shapes do not fit.
    """
    unpack_weights(files[WEIGHTS], model)
    if average is not None:
        unpack_weights(files[AVERAGE], average)
    indices = {name: index for index, name in _parameter_names(model, optimizer).items()}
    state: dict[int, dict[str, Tensor]] = {}
    for key_and_name, value in load(files[OPTIMIZER]).items():
        key, name = key_and_name.split("/", 1)
        state.setdefault(indices[name], {})[key] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    return read_progress(files)


def read_progress(files: Mapping[str, bytes]) -> dict[str, Any]:
    """The progress of `pack`."""
    return json.loads(files[PROGRESS])


def weights_to_use(files: Mapping[str, bytes]) -> bytes:
    """The weights that are tested and kept: averaged ones where there are any."""
    return files.get(AVERAGE, files[WEIGHTS])


def best_weights(files: Mapping[str, bytes]) -> bytes:
    """The weights to use of the best epoch up to a checkpoint, which carries them itself: none depends on another."""
    return files.get(BEST, weights_to_use(files))


def unpack_weights(content: bytes, model: nn.Module) -> None:
    """Load the weights of `pack_weights`; every name and shape must fit."""
    model.load_state_dict(load(content))


def unpack_initial(content: bytes, model: nn.Module) -> None:
    """Begin with the weights of another training, as `pack_weights` gives them.

    Every name and shape must fit; only the classifier's last layer, whose rows are classes, may be absent and then
    stays as initialised. Raises RuntimeError otherwise; the model is then of no use.
    """
    given = load(content)
    missing, unknown = model.load_state_dict(given, strict=False)
    head = {f"classifier.{name}" for name in head_names(model.get_submodule("classifier"))}
    if unfit := sorted({*missing} - head) + unknown:
        raise RuntimeError(f"the initial weights do not fit the model: {', '.join(unfit[:5])}")


def _parameter_names(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[int, str]:
    """The optimizer counts parameters over its groups in order; by name they survive regrouping."""
    names = {parameter: name for name, parameter in model.named_parameters()}
    parameters = (parameter for group in optimizer.param_groups for parameter in group["params"])
    return {index: names[parameter] for index, parameter in enumerate(parameters)}


def _storable(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
