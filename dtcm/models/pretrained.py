"""Read public checkpoints into our modules, and say exactly what was and was not loaded.

Files are torch checkpoints, read with weights_only=True so that they cannot run code, or safetensors. They may
wrap the weights in {"state_dict": ...} and prefix each name with "module.". docs/models.md lists whose files fit.

A module's parameters are named as its family's public files name them. Where there are several namings, the
module's `public_names`, {pattern: replacement}, translates a name that the module does not have: one after the
other is applied where it matches, until the module has the name.
"""

import pickle
import re
from collections.abc import Container, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from dtcm.errors import BadInput
from dtcm.models.flow import TwoStream


@dataclass(frozen=True)
class LoadReport:
    """Names of tensors, by what became of them."""

    path: str
    loaded: tuple[str, ...]
    """Copied from the file."""
    replaced: tuple[str, ...]
    """Of the classification head: the file has another class count, so they keep their initial values."""
    missing: tuple[str, ...]
    """Not in the file, so they keep their initial values."""
    unexpected: tuple[str, ...]
    """In the file, but not in the module: not used."""

    def __str__(self) -> str:
        parts = [f"{self.path}: {len(self.loaded)} tensors loaded"]
        for what in ("replaced", "missing", "unexpected"):
            names = getattr(self, what)
            parts += [f"{len(names)} {what} ({', '.join(names)})"] if names else []
        return "; ".join(parts)


def load_pretrained(module: nn.Module, path: str | Path) -> LoadReport:
    """Copy a checkpoint's weights into a module, in place.

    A head (the module's last layer) of another class count stays as initialised. Batch normalisation's counters,
    which files from before torch 0.4.1 lack, are not counted as missing. The report names tensors as the module does,
    those that it does not have as the file does.
    Raises BadInput if the file cannot be read, shares no name with the module, or holds another shape
    under the same name; the module is then unchanged.
    """
    ours = module.state_dict()
    theirs = {_translated(name, module, ours): tensor for name, tensor in _read(Path(path)).items()}
    shared = [name for name in ours if name in theirs]
    if not shared:
        raise BadInput(
            f"{path} has none of the weights of {type(module).__name__} (it holds {', '.join(list(theirs)[:3])}, ...); "
            "choose a file made for this model."
        )
    replaced = [
        name for name in head_names(module) if name in shared and theirs[name].shape[1:] == ours[name].shape[1:]
    ]
    replaced = [name for name in replaced if theirs[name].shape != ours[name].shape]
    loaded = [name for name in shared if name not in replaced]
    for name in loaded:
        if theirs[name].shape != ours[name].shape:
            raise BadInput(
                f"{path} holds {name} of shape {list(theirs[name].shape)} where {type(module).__name__} has "
                f"{list(ours[name].shape)}; choose a file made for this model."
            )
    module.load_state_dict({name: _flushed(theirs[name]) for name in loaded}, strict=False)
    return LoadReport(
        path=str(path),
        loaded=tuple(loaded),
        replaced=tuple(replaced),
        missing=tuple(name for name in ours if name not in theirs and not name.endswith(".num_batches_tracked")),
        unexpected=tuple(name for name in theirs if name not in ours),
    )


def _translated(name: str, module: nn.Module, ours: Container[str]) -> str:
    """The module's own name for a file's name; as it is if the module has none."""
    names = [name]
    for pattern, replacement in getattr(module, "public_names", {}).items():
        names += [re.sub(pattern, replacement, known) for known in names if re.search(pattern, known)]
    return next((known for known in names if known in ours), name)


def _flushed(tensor: Tensor) -> Tensor:
    """Values too small for their type's full precision as 0: they add nothing, and make a CPU fifty times slower.

    A quarter of Zero-DCE's public weights have decayed to 1e-42.
    """
    if not tensor.is_floating_point():
        return tensor
    return torch.where(tensor.abs() < torch.finfo(tensor.dtype).tiny, 0, tensor)


def head_names(module: nn.Module) -> list[str]:
    """Parameter names of the last linear layer (or convolution in space and time), the one whose rows are classes."""
    if isinstance(module, TwoStream):
        return [f"{stream}.{name}" for stream, child in module.named_children() for name in head_names(child)]
    layers = [(name, layer) for name, layer in module.named_modules() if isinstance(layer, nn.Linear | nn.Conv3d)]
    return [f"{name}.{leaf}" for name, layer in layers[-1:] for leaf, _ in layer.named_parameters()]


def _read(path: Path) -> dict[str, Tensor]:
    """Name -> tensor of a file, unwrapped and without the prefix "module."."""
    if not path.is_file():
        raise BadInput(f"There is no weights file {path}; give the path of a checkpoint or safetensors file.")
    try:
        if path.suffix == ".safetensors":
            content = load_file(path)
        else:
            content = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, SafetensorError, RuntimeError, EOFError, ValueError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise BadInput(
            f"{path} cannot be read as weights ({reason}); only tensors are accepted, because a checkpoint that "
            "pickles other objects could run code: save its state_dict alone, best as safetensors."
        ) from error
    weights = content.get("state_dict", content) if isinstance(content, Mapping) else None
    if not isinstance(weights, Mapping) or not all(isinstance(value, Tensor) for value in weights.values()):
        raise BadInput(f"{path} holds no mapping of names to tensors; save the model's state_dict.")
    return {name.removeprefix("module."): value for name, value in weights.items()}
