"""A network of timm twice: named in a recipe, and split by ``FeatureClassifier.from_module`` for a loop of one's own.

    python examples/timm_model.py

On the command line the first is

    noiseproof train digits --set model.name=timm/test_resnet --set model.embedding_dim=null

where ``null`` keeps the features that the network has, and a number puts ReLU and a linear layer of that width behind
them, as the paper does. Needs ``pip install '.[timm]'``; nothing is downloaded, the weights are random.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import timm
import torch
from torch.nn import functional as F
from torch.utils.data import DataLoader

import noiseproof as npf
from noiseproof.data import Splits

NAME = "test_resnet"  # tiny; any classifier of timm will do
SPECS = ("clean", "gaussian:0.1", "gaussian:0.2", "gaussian:0.3")


def by_recipe(epochs: int, folder: Path) -> npf.Run:
    settings = {
        "model.name": f"timm/{NAME}", "model.embedding_dim": None, "train.epochs": epochs, "data.augment": "none",
        "train.optimizer": {"name": "adamw", "lr": 2e-3},
    }  # fmt: skip
    return npf.train("digits", method="discriminative", overrides=settings, out=folder)


def by_hand(data: Splits, epochs: int) -> npf.FeatureClassifier:
    torch.manual_seed(0)
    network = timm.create_model(NAME, num_classes=10, in_chans=1)
    mean, std = data.train.channel_statistics()
    model = npf.FeatureClassifier.from_module(network, mean=mean, std=std)
    loss_fn = npf.DiscriminativeLoss(model.num_classes, model.embedding_dim)
    noise = npf.perturbation("gaussian:0.3")
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    for _ in range(epochs):
        model.train()
        for images, labels in DataLoader(data.train, batch_size=64, shuffle=True):
            embeddings, noisy = model.embed(images), model.embed(noise(images))
            loss = F.cross_entropy(model.head(embeddings), labels)
            loss = loss + loss_fn(embeddings, labels, model.head, noisy_embeddings=noisy).total
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=20)
    epochs = parser.parse_args().epochs
    with tempfile.TemporaryDirectory() as folder:
        run = by_recipe(epochs, Path(folder) / "run")
        data = run.data()
        models = {"by recipe": run.model(), "by from_module": by_hand(data, epochs)}
    print(f"{'test accuracy in %':<20}" + "".join(f"{spec:>14}" for spec in SPECS))
    for name, model in models.items():
        report = npf.evaluate(model, data.test, SPECS)
        print(f"{name:<20}" + "".join(f"{100 * report[spec].mean:14.1f}" for spec in SPECS))


if __name__ == "__main__":
    main()
