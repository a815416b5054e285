"""Small networks of PyTorch, of the kinds that people deploy, with random weights. Needs PyTorch."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["NETWORKS", "example"]


class Residual(nn.Module):  # type: ignore[misc] # PyTorch has no types here
    """A block of a ResNet: two convolutions with norms, beside a short cut."""

    def __init__(self, inner: int, outer: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(inner, outer, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(outer)
        self.second = nn.Conv2d(outer, outer, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(outer)
        self.relu = nn.ReLU(inplace=True)
        self.short = nn.Sequential(nn.Conv2d(inner, outer, 1, stride, bias=False), nn.BatchNorm2d(outer))

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm2(self.second(self.relu(self.norm1(self.first(x)))))
        y += self.short(x)
        return self.relu(y)


class ResNet(nn.Module):  # type: ignore[misc]
    """Stem, blocks, mean over places, classes."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 7, 2, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU(True))
        self.pool = nn.MaxPool2d(3, 2, 1)
        self.blocks = nn.Sequential(Residual(8, 8, 1), Residual(8, 16, 2))
        self.mean = nn.AdaptiveAvgPool2d((1, 1))
        self.classes = nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.blocks(self.pool(self.stem(x)))
        return self.classes(torch.flatten(self.mean(x), 1))


class MobileNet(nn.Module):  # type: ignore[misc]
    """An inverted residual of MobileNetV3: depthwise convolution, squeeze and excitation, hard swish."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, 2, 1)
        self.wide = nn.Sequential(
            nn.Conv2d(8, 24, 1, bias=False), nn.BatchNorm2d(24, eps=1e-3), nn.Hardswish(inplace=True)
        )
        self.deep = nn.Sequential(
            nn.Conv2d(24, 24, 5, 1, 2, groups=24, bias=False), nn.BatchNorm2d(24), nn.Hardswish()
        )
        self.squeeze = nn.Conv2d(24, 8, 1)
        self.excite = nn.Conv2d(8, 24, 1)
        self.narrow = nn.Sequential(nn.Conv2d(24, 8, 1, bias=False), nn.BatchNorm2d(8))
        self.classes = nn.Sequential(nn.Linear(8, 16), nn.Hardswish(), nn.Dropout(0.2), nn.Linear(16, 5))

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        y = self.deep(self.wide(x))
        gate = F.hardsigmoid(self.excite(F.relu(self.squeeze(F.adaptive_avg_pool2d(y, 1)))))
        x = x + self.narrow(y * gate)
        return self.classes(x.mean((2, 3)))


class ConvNeXt(nn.Module):  # type: ignore[misc]
    """A block of ConvNeXt: depthwise 7 x 7, norm of channels, two products, a factor for each channel."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 4, 4)
        self.deep = nn.Conv2d(16, 16, 7, padding=3, groups=16)
        self.norm = nn.LayerNorm(16, eps=1e-6)
        self.up, self.down = nn.Linear(16, 64), nn.Linear(64, 16)
        self.factor = nn.Parameter(0.3 * torch.ones(16, 1, 1))
        self.last = nn.LayerNorm(16)
        self.classes = nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        y = self.norm(self.deep(x).permute(0, 2, 3, 1))
        y = self.down(F.gelu(self.up(y))).permute(0, 3, 1, 2)
        x = x + self.factor * y
        return self.classes(self.last(x.mean((-2, -1))))


class Swin(nn.Module):  # type: ignore[misc]
    """Attention of Swin in shifted windows, with a bias by relative place and a mask across the borders."""

    def __init__(self, width: int = 16, heads: int = 2, window: int = 4, shift: int = 2) -> None:
        super().__init__()
        self.width, self.heads, self.window, self.shift = width, heads, window, shift
        self.stem = nn.Conv2d(3, width, 2, 2)
        self.norm = nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.table = nn.Parameter(0.1 * torch.randn((2 * window - 1) ** 2, heads))
        side = torch.arange(window)
        places = torch.stack(torch.meshgrid(side, side, indexing="ij")).flatten(1)
        apart = (places[:, :, None] - places[:, None]).permute(1, 2, 0) + window - 1
        self.register_buffer("index", (apart[..., 0] * (2 * window - 1) + apart[..., 1]).flatten())
        self.merge = nn.Linear(4 * width, 2 * width, bias=False)
        self.classes = nn.Linear(2 * width, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x).permute(0, 2, 3, 1)
        n, h, w, c = x.shape
        a = self.window
        y = torch.roll(self.norm(x), (-self.shift, -self.shift), (1, 2))
        y = y.view(n, h // a, a, w // a, a, c).permute(0, 1, 3, 2, 4, 5).reshape(-1, a * a, c)
        qkv = self.qkv(y).reshape(y.shape[0], a * a, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4)
        scores = (qkv[0] * (c // self.heads) ** -0.5) @ qkv[1].transpose(-2, -1)
        scores = scores + self.table[self.index].view(a * a, a * a, -1).permute(2, 0, 1)[None]
        regions = x.new_zeros((h, w))
        bounds = ((0, -a), (-a, -self.shift), (-self.shift, None))
        count = 0
        for up in bounds:
            for left in bounds:
                regions[up[0] : up[1], left[0] : left[1]] = count
                count += 1
        regions = regions.view(h // a, a, w // a, a).permute(0, 2, 1, 3).reshape(-1, a * a)
        mask = regions[:, None] - regions[:, :, None]
        mask = mask.masked_fill(mask != 0, -100.0).masked_fill(mask == 0, 0.0)
        scores = scores.view(n, -1, self.heads, a * a, a * a) + mask[None, :, None]
        y = F.softmax(scores.view(-1, self.heads, a * a, a * a), -1) @ qkv[2]
        y = self.out(y.transpose(1, 2).reshape(-1, a * a, c))
        y = y.view(n, h // a, w // a, a, a, c).permute(0, 1, 3, 2, 4, 5).reshape(n, h, w, c)
        x = x + torch.roll(y, (self.shift, self.shift), (1, 2))
        x = torch.cat([x[:, 0::2, 0::2], x[:, 1::2, 0::2], x[:, 0::2, 1::2], x[:, 1::2, 1::2]], -1)
        return self.classes(self.merge(x).mean((1, 2)))


class ViT(nn.Module):  # type: ignore[misc]
    """Patches with a class token and places, transformer layers, classes."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 16, 4, 4)
        self.token = nn.Parameter(torch.randn(1, 1, 16))
        self.places = nn.Parameter(torch.randn(1, 17, 16))
        layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True, norm_first=True, activation="gelu")
        self.layers = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.classes = nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1) + self.places
        return self.classes(self.layers(x)[:, 0])


class UNet(nn.Module):  # type: ignore[misc]
    """Down, up by a transposed convolution and by resizing, with joins and group norms."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.GroupNorm(2, 8), nn.SiLU())
        self.down = nn.Sequential(nn.Conv2d(8, 16, 3, 2, 1), nn.GroupNorm(4, 16), nn.SiLU())
        self.middle = nn.Conv2d(16, 16, 3, padding=1, padding_mode="reflect")
        self.up = nn.ConvTranspose2d(16, 8, 2, 2)
        self.last = nn.Conv2d(24, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        a = self.first(x)
        b = self.middle(self.down(a))
        both = torch.cat([a, self.up(b), F.interpolate(b[:, :8], scale_factor=2, mode="bilinear")], 1)
        return torch.tanh(self.last(both))


class Decoder(nn.Module):  # type: ignore[misc]
    """A full pass of a decoder with rotary places, grouped heads, RMS norms and a gated product."""

    def __init__(self, width: int = 16, heads: int = 4) -> None:
        super().__init__()
        self.heads = heads
        self.words = nn.Embedding(30, width)
        self.norm1, self.norm2 = nn.RMSNorm(width), nn.RMSNorm(width)
        self.q, self.kv, self.o = nn.Linear(width, width), nn.Linear(width, width), nn.Linear(width, width)
        self.gate, self.up, self.down = nn.Linear(width, 32), nn.Linear(width, 32), nn.Linear(32, width)

    def rotated(self, x: Tensor) -> Tensor:
        n = x.shape[-1]
        angle = torch.arange(x.shape[-2])[:, None] / 100 ** (torch.arange(0, n, 2) / n)
        a, b = x[..., ::2], x[..., 1::2]
        turned = [a * angle.cos() - b * angle.sin(), a * angle.sin() + b * angle.cos()]
        return torch.stack(turned, -1).flatten(-2)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.words(ids) * math.sqrt(16)
        n, t, c = x.shape
        y = self.norm1(x)
        q = self.q(y).view(n, t, self.heads, -1).transpose(1, 2)
        k, v = self.kv(y).view(n, t, 2, self.heads // 2, -1).permute(2, 0, 3, 1, 4)
        q, k = self.rotated(q), self.rotated(k)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
        x = x + self.o(y.transpose(1, 2).reshape(n, t, c))
        y = self.norm2(x)
        x = x + self.down(F.silu(self.gate(y)) * self.up(y))
        return F.linear(x, self.words.weight)


class Recurrent(nn.Module):  # type: ignore[misc]
    """An LSTM of two layers in both directions over embedded words, then a GRU and a plain layer."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(30, 8)
        self.lstm = nn.LSTM(8, 6, 2, batch_first=True, bidirectional=True, dropout=0.1)
        self.gru = nn.GRU(12, 7, batch_first=True)
        self.plain = nn.RNN(7, 5, batch_first=True, nonlinearity="relu")

    def forward(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        x, (_, cell) = self.lstm(self.words(ids))
        x, last = self.gru(x)
        y, _ = self.plain(x)
        return y, torch.cat([cell[-1], last[0]], 1)


class Mlp(nn.Module):  # type: ignore[misc]
    """Products with a norm between them."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(20, 48), nn.GELU(), nn.LayerNorm(48), nn.Linear(48, 4))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


def _picture(n: int, size: int) -> Tensor:
    coarse = torch.randn(n, 3, size // 4, size // 4)
    return F.interpolate(coarse, scale_factor=4, mode="bilinear") + 0.1 * torch.randn(n, 3, size, size)


def _encoder() -> nn.Module:
    return nn.TransformerEncoderLayer(32, 4, 64, batch_first=True)


NETWORKS: Final[dict[str, tuple[Callable[[], nn.Module], Callable[[int], Tensor]]]] = {
    "mlp": (Mlp, lambda n: torch.randn(n, 20)),
    "encoder": (_encoder, lambda n: torch.randn(n, 6, 32)),
    "resnet": (ResNet, lambda n: _picture(n, 32)),
    "mobilenet": (MobileNet, lambda n: _picture(n, 16)),
    "convnext": (ConvNeXt, lambda n: _picture(n, 32)),
    "swin": (Swin, lambda n: _picture(n, 16)),
    "vit": (ViT, lambda n: _picture(n, 16)),
    "unet": (UNet, lambda n: _picture(n, 8)),
    "decoder": (Decoder, lambda n: torch.randint(0, 30, (n, 6))),
    "recurrent": (Recurrent, lambda n: torch.randint(0, 30, (n, 5))),
}
"""What makes each network, and inputs of so many samples for it."""


def example(name: str, samples: int, seed: int = 0) -> tuple[nn.Module, Tensor]:
    """Return a network with random weights and running statistics, and inputs for it."""
    torch.manual_seed(seed)
    make, inputs = NETWORKS[name]
    net = make().eval()
    for part in net.modules():
        if isinstance(part, nn.BatchNorm2d):
            nn.init.uniform_(part.running_mean, -0.2, 0.2)
            nn.init.uniform_(part.running_var, 0.5, 1.5)
            nn.init.uniform_(part.weight, 0.5, 1.5)
    return net, inputs(samples)
