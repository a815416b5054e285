"""Wrap a network of PyTorch, audit a call, and catch a node that serves other weights.

It takes the extra ``torch``: ``pip install 'proofcompute[torch]'``.
"""

import torch
from torch import nn

import proofcompute as pc


class Block(nn.Module):  # type: ignore[misc] # PyTorch has no types here
    """Two convolutions beside a short cut."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(width)
        self.second = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return pictures of the same size."""
        return x + self.second(torch.relu(self.norm(self.first(x))))


def main() -> None:
    """Run the example."""
    torch.manual_seed(0)
    stem = nn.Conv2d(3, 32, 4, 4)
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10))
    model = nn.Sequential(stem, Block(32), Block(32), head).eval()
    images = torch.randn(4, 3, 64, 64)

    net = pc.wrap(model, images)
    print(net.report())

    logits, proof = net(images)
    print("scores", tuple(logits.shape), "receipt of", len(proof.receipt), "bytes")
    auditor = pc.Auditor(net.key(), node=net.node.public)
    verified = auditor.audit(proof.request, proof.receipt, proof.open, cells=2)
    print(f"{verified.cells} of {verified.total} cells right")

    with torch.no_grad():
        model[3][2].weight *= 0.5  # a node that saves work, or cheats
    other = pc.wrap(model, images, precision=net.model.manifest["recipe"])
    assert other.model.model_id != net.model.model_id
    cheat = pc.Node(other.model)
    answer = cheat.answer(other.request(images))
    try:
        auditor.audit(proof.request, answer.receipt, lambda c: cheat.open(proof.request, answer.receipt, c))
    except pc.VerificationError as error:
        print("rejected:", error)
    else:
        raise SystemExit("a wrong answer passed")


if __name__ == "__main__":
    main()
