import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn

from dtcm.models.batchnorm import synchronized

PARTS = ((0, 3), (3, 4))
"""Clips of two workers: an uneven division of a batch of four."""


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5), nn.ReLU(), nn.Conv2d(5, 2, 3), nn.BatchNorm2d(2))


def batch():
    return torch.randn(4, 3, 7, 7, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def work(rank, folder):
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    model = synchronized(network().double(), torch.device("cpu"))
    output = model(batch()[slice(*PARTS[rank])])
    output.pow(3).sum().backward()
    for parameter in model.parameters():
        dist.all_reduce(parameter.grad)
    if rank == 0:
        gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
        torch.save({"state": model.state_dict(), "gradients": gradients, "output": output.detach()}, f"{folder}/found")
    dist.destroy_process_group()


def test_two_workers_normalise_as_one(tmp_path):
    mp.spawn(work, (str(tmp_path),), nprocs=2, daemon=True)
    found = torch.load(tmp_path / "found", weights_only=True)
    model = network().double()
    output = model(batch())
    output.pow(3).sum().backward()
    assert torch.allclose(found["output"], output[slice(*PARTS[0])], rtol=1e-10)
    assert found["state"].keys() == model.state_dict().keys()
    for name, value in model.state_dict().items():
        assert torch.allclose(found["state"][name], value, rtol=1e-10), name
    for name, parameter in model.named_parameters():
        assert torch.allclose(found["gradients"][name], parameter.grad, rtol=1e-8, atol=1e-9), name


def test_in_eval_mode_it_is_the_module_that_it_replaces():
    model, twin = network().eval(), synchronized(network(), torch.device("cpu")).eval()
    x = batch().float()
    assert torch.equal(twin(x), model(x))
