"""Late temporal modelling with BERT (Kalfaoglu et al., ECCVW 2020), and R-BERT, R(2+1)D-34 with such a head.

Delta-Sampling R-BERT (Hira et al., CVPRW 2021), among the paper's comparisons (Table III), is this network on frames
that it samples in its own way; what is here is the network. Parameter names are those of
https://github.com/artest08/LateTemporalModeling3DCNN; weights of R(2+1)D-34 load, too.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import dropout, gelu, scaled_dot_product_attention

from dtcm.models.layers import KINETICS, Normalize
from dtcm.models.r2plus1d import R2Plus1D

HEADS = 8
"""Of self-attention."""
DROPOUT = 0.1
"""Within the encoder."""
R2PLUS1D_NAMES = {r"^stem\.": "features.0.", r"^layer(\d)\.": r"features.\1."}
"""Parameter names of R(2+1)D, and of it as the first part of a late-BERT model."""


def rbert_r2plus1d_34(num_classes: int, frames: int, size: int) -> nn.Module:
    """R-BERT, 66.7 M parameters for 11 classes. Takes clips of just this T, at least 1, and any size."""
    return RBert(num_classes, frames)


class RBert(nn.Module):
    """R(2+1)D-34 without its pooling over time: BERT reads the T/8 feature vectors, a linear layer its class token."""

    public_names = R2PLUS1D_NAMES

    def __init__(self, num_classes: int, frames: int) -> None:
        super().__init__()
        self.normalize = Normalize(*KINETICS)
        body = R2Plus1D(num_classes)
        self.features = nn.Sequential(body.stem, body.layer1, body.layer2, body.layer3, body.layer4)
        self.bert = LateBert(512, tokens=-(-frames // 8), seen=0.8)
        self.dp = nn.Dropout(0.8)
        self.fc_action = action_head(512, num_classes)

    def forward(self, clip_BCTHW: Tensor) -> Tensor:
        """Logits [B, num_classes] of RGB clips in [0, 1]."""
        features_BCTHW = self.features(self.normalize(clip_BCTHW))
        return self.fc_action(self.dp(self.bert(tokens(features_BCTHW))))


def tokens(features_BCTHW: Tensor) -> Tensor:
    """One token a step in time, the mean over space: [B, T, C]."""
    return features_BCTHW.mean(dim=(3, 4)).transpose(1, 2)


def action_head(channels: int, num_classes: int) -> nn.Linear:
    """The linear layer of late-BERT models, drawn from Xavier's uniform distribution."""
    layer = nn.Linear(channels, num_classes)
    nn.init.xavier_uniform_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


class LateBert(nn.Module):
    """One transformer encoder over the tokens of a clip, behind a learnt class token, with learnt positions.

    `tokens` is how many a clip has; `seen` is the share of them, drawn anew for each clip, that attention may look at
    in training; in evaluation it looks at all.
    """

    def __init__(self, channels: int, tokens: int, seen: float) -> None:
        super().__init__()
        self.seen = seen
        self.clsToken = nn.Parameter(torch.empty(1, 1, channels))
        self.embedding = nn.ModuleDict({"learnedPosition": Positions(channels, tokens + 1)})
        self.transformer_blocks = nn.ModuleList([Encoder(channels)])
        nn.init.normal_(self.clsToken, std=0.02)

    def forward(self, tokens_BNC: Tensor) -> Tensor:
        """The class token after attention, [B, C]."""
        batch, count = tokens_BNC.shape[:2]
        x = torch.cat([self.clsToken.expand(batch, -1, -1), tokens_BNC], dim=1)
        x = dropout(self.embedding["learnedPosition"](x), DROPOUT, self.training)
        mask = None
        if self.training and self.seen < 1:
            drawn = torch.rand(batch, count, device=x.device) < self.seen
            mask = torch.cat([drawn.new_ones(batch, 1), drawn], dim=1)[:, None, None]
        for block in self.transformer_blocks:
            x = block(x, mask)
        return x[:, 0]


class Positions(nn.Module):
    """A learnt vector for each of N positions, added."""

    def __init__(self, channels: int, count: int) -> None:
        super().__init__()
        self.pe = nn.Parameter(torch.empty(1, count, channels))
        nn.init.normal_(self.pe, std=0.02)

    def forward(self, x_BNC: Tensor) -> Tensor:
        """Of the same shape."""
        return x_BNC + self.pe


class Encoder(nn.Module):
    """A transformer encoder that normalises before attention and before its two linear layers."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        projections = nn.ModuleList([nn.Linear(channels, channels) for _ in range(3)])
        self.attention = nn.ModuleDict({"linear_layers": projections, "output_linear": nn.Linear(channels, channels)})
        self.feed_forward = nn.ModuleDict(
            {"w_1": nn.Linear(channels, 4 * channels), "w_2": nn.Linear(4 * channels, channels)}
        )
        self.input_sublayer = nn.ModuleDict({"norm": Norm(channels)})
        self.output_sublayer = nn.ModuleDict({"norm": Norm(channels)})

    def forward(self, x_BNC: Tensor, mask: Tensor | None) -> Tensor:
        """Of the same shape; `mask` [B, 1, 1, N] says which tokens may be looked at, None all."""
        x = x_BNC + self.drop(self.attend(self.input_sublayer["norm"](x_BNC), mask))
        hidden = gelu(self.feed_forward["w_1"](self.output_sublayer["norm"](x)), approximate="tanh")
        return self.drop(x + self.drop(self.feed_forward["w_2"](self.drop(hidden))))

    def attend(self, x_BNC: Tensor, mask: Tensor | None) -> Tensor:
        """Self-attention of `HEADS` heads, of the same shape."""
        projections = self.attention.get_submodule("linear_layers").children()
        query, key, value = (layer(x_BNC).unflatten(2, (HEADS, -1)).transpose(1, 2) for layer in projections)
        rate = DROPOUT if self.training else 0.0
        y = scaled_dot_product_attention(query, key, value, attn_mask=mask, dropout_p=rate)
        return self.attention["output_linear"](y.transpose(1, 2).flatten(2))

    def drop(self, x: Tensor) -> Tensor:
        """Dropout, in training."""
        return dropout(x, DROPOUT, self.training)


class Norm(nn.Module):
    """Layer normalisation by the unbiased standard deviation plus 1e-6, as the public models have it."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.a_2 = nn.Parameter(torch.ones(channels))
        self.b_2 = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Of the same shape."""
        std, mean = torch.std_mean(x, dim=-1, keepdim=True)
        return self.a_2 * (x - mean) / (std + 1e-6) + self.b_2
