"""What the small classifier sees, and that it learns motion quickly."""

import pytest
import torch
from torch.nn.functional import cross_entropy

from dtcm.models import create_classifier
from dtcm.models.small3d import motion


def model(num_classes=4, frames=8, size=32):
    torch.manual_seed(0)
    return create_classifier("small3d", num_classes, frames, size)


def test_it_is_small():
    assert 0.1e6 < sum(parameter.numel() for parameter in model().parameters()) < 0.4e6


def test_motion_is_the_distance_from_the_mean_frame_and_from_the_last_frame_each_scaled_by_its_own_size():
    clip = torch.rand(2, 3, 4, 5, 6, dtype=torch.float64)
    expected = torch.zeros(2, 6, 4, 5, 6, dtype=torch.float64)
    for t in range(4):
        expected[:, :3, t] = clip[:, :, t] - sum(clip[:, :, s] for s in range(4)) / 4
        expected[:, 3:, t] = clip[:, :, t] - clip[:, :, t - 1] if t else 0
    for b in range(2):
        for half in (slice(0, 3), slice(3, 6)):
            expected[b, half] /= expected[b, half].square().mean().sqrt()
    torch.testing.assert_close(motion(clip), expected, rtol=1e-4, atol=1e-6)


def test_a_still_background_changes_nothing():
    clip, background = torch.rand(1, 3, 4, 16, 16), torch.rand(1, 3, 1, 16, 16)
    classifier = model()
    with torch.no_grad():
        torch.testing.assert_close(classifier(clip + background), classifier(clip), atol=1e-3, rtol=1e-4)


def test_how_far_a_clip_is_brightened_matters_little():
    clip = torch.rand(1, 3, 4, 16, 16)
    classifier = model()
    with torch.no_grad():
        torch.testing.assert_close(classifier(0.2 * clip), classifier(clip), atol=1e-3, rtol=1e-2)


@pytest.mark.parametrize(("frames", "size"), [(1, 8), (2, 17), (16, 64), (16, 112), (64, 32)])
def test_it_takes_any_clip(frames, size):
    classifier = model(5, frames, size).train()
    assert classifier(torch.rand(1, 3, frames, size, size)).shape == (1, 5)


def test_gradients_do_not_depend_on_how_a_batch_is_split():
    clips, labels = torch.rand(4, 3, 6, 16, 16), torch.tensor([0, 1, 2, 3])
    whole, split = model(), model()
    cross_entropy(whole(clips), labels).backward()
    for b in range(4):
        (cross_entropy(split(clips[b : b + 1]), labels[b : b + 1]) / 4).backward()
    for one, other in zip(whole.parameters(), split.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, atol=1e-5, rtol=1e-4)


def moving_squares(per_class, seed, frames=8, size=32):
    """Noisy clips of a square that moves right, left, down, up (classes 0-3) before a random still background."""
    generator = torch.Generator().manual_seed(seed)
    clips, labels = [], []
    for label in range(4):
        direction = (0, 1 - 2 * label) if label < 2 else (5 - 2 * label, 0)
        for _ in range(per_class):
            background = torch.rand(3, 1, size, size, generator=generator)
            clip = 0.2 + 0.3 * background.repeat(1, frames, 1, 1)
            color = 0.6 + 0.4 * torch.rand(3, 1, 1, generator=generator)
            top, left = (torch.randint(-4, 5, (2,), generator=generator) + size // 2 - 4).tolist()
            for t in range(frames):
                offset = round(1.5 * (t - frames / 2))
                y, x = top + direction[0] * offset, left + direction[1] * offset
                clip[:, t, max(y, 0) : y + 8, max(x, 0) : x + 8] = color
            clips.append(clip + 0.02 * torch.randn(clip.shape, generator=generator))
            labels.append(label)
    return torch.stack(clips).clamp(0, 1), torch.tensor(labels)


def test_it_learns_the_direction_of_motion_in_a_hundred_steps():
    clips, labels = moving_squares(per_class=20, seed=0)
    unseen, unseen_labels = moving_squares(per_class=12, seed=1)
    classifier = model()
    optimizer = torch.optim.AdamW(classifier.parameters(), lr=1e-3)
    order = torch.randperm(len(clips) * 10, generator=torch.Generator().manual_seed(0)) % len(clips)
    for batch in order.split(8):
        loss = cross_entropy(classifier(clips[batch]), labels[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        forwards = (classifier(unseen).argmax(dim=1) == unseen_labels).float().mean().item()
        backwards_labels = torch.tensor([1, 0, 3, 2])[unseen_labels]  # played backwards, right is left
        backwards = (classifier(unseen.flip(2)).argmax(dim=1) == backwards_labels).float().mean().item()
    assert min(forwards, backwards) > 0.8, f"forwards {forwards:.2f}, backwards {backwards:.2f}"
