"""The ordinary training loop of plain_before.py with the discriminative loss.

    python examples/plain_after.py

``plain_after.py`` is this file with the discriminative loss; ``diff`` shows the lines that changed.
"""

import argparse

import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn
from torch.nn import functional as F

import noiseproof as npf


def make_network():
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(),
        nn.Conv2d(16, 32, 3, padding=1, stride=2), nn.BatchNorm2d(32), nn.ReLU(),
        nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 10),
    )  # fmt: skip


def accuracy(model, images, labels, sigma, draws=10):
    generator = torch.Generator().manual_seed(0)
    hits = []
    model.eval()
    with torch.no_grad():
        for _ in range(draws):
            noisy = (images + sigma * torch.randn(images.shape, generator=generator)).clamp(0, 1)
            hits.append((model(noisy).argmax(1) == labels).float().mean())
    return float(torch.stack(hits).mean())


parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--epochs", type=int, default=30)
epochs = parser.parse_args().epochs

digits = load_digits()
images = torch.from_numpy(digits.images).float().unsqueeze(1) / 16  # (N, 1, 8, 8) in [0, 1]
labels = torch.from_numpy(digits.target)
x, test_x, y, test_y = train_test_split(images, labels, test_size=0.25, random_state=0, stratify=labels)

torch.manual_seed(0)
model = npf.FeatureClassifier.from_module(make_network())  # the same, split in front of its last nn.Linear
loss_fn = npf.DiscriminativeLoss(num_classes=10, embedding_dim=64)
noise = npf.perturbation("gaussian:0.3")
optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)

for _ in range(epochs):
    model.train()
    for batch in torch.randperm(len(x)).split(64):
        embeddings, noisy = model.embed(x[batch]), model.embed(noise(x[batch]))
        logits = model.head(embeddings)
        loss = F.cross_entropy(logits, y[batch])
        loss = loss + loss_fn(embeddings, y[batch], model.head, noisy_embeddings=noisy).total
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

for sigma in (0.0, 0.1, 0.2, 0.3):
    print(f"test accuracy under noise of std {sigma}: {accuracy(model, test_x, test_y, sigma):6.1%}")
