"""An image classifier of Hugging Face's transformers: trained as usual, then made robust by the discriminative loss.

    python examples/hugging_face.py

``FeatureClassifier.from_module`` takes the logits out of the model's output object and splits it in front of its last
linear layer. The weights are shared, so ``vit.save_pretrained`` saves what was trained. This model is tiny and begins
with random weights; for one of ``from_pretrained`` give the mean and std of its image processor.
Needs ``pip install transformers``; nothing is downloaded.
"""

from __future__ import annotations

import argparse
import copy

import torch
from torch.nn import functional as F
from torch.utils.data import DataLoader
from transformers import ViTConfig, ViTForImageClassification

import noiseproof as npf
from noiseproof.data import LabelledDataset, load_splits

SPECS = ("clean", "gaussian:0.1", "gaussian:0.2", "gaussian:0.3")


def make_vit() -> ViTForImageClassification:
    config = ViTConfig(
        image_size=8, patch_size=2, num_channels=1, hidden_size=48, num_hidden_layers=3, num_attention_heads=4,
        intermediate_size=96, num_labels=10,
    )  # fmt: skip
    return ViTForImageClassification(config)


def train(
    model: npf.FeatureClassifier, data: LabelledDataset, epochs: int, lr: float, *, discriminative: bool
) -> npf.FeatureClassifier:
    loss_fn = npf.DiscriminativeLoss(model.num_classes, model.embedding_dim)
    noise = npf.perturbation("gaussian:0.3")
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr)
    model.train()
    for _ in range(epochs):
        for images, labels in DataLoader(data, batch_size=64, shuffle=True):
            embeddings = model.embed(images)
            loss = F.cross_entropy(model.head(embeddings), labels)
            if discriminative:
                noisy = model.embed(noise(images))
                loss = loss + loss_fn(embeddings, labels, model.head, noisy_embeddings=noisy).total
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=20, help="with the softmax loss alone")
    parser.add_argument("--more-epochs", type=int, default=10, help="after that")
    options = parser.parse_args()

    torch.manual_seed(0)
    data = load_splits("digits", test_fraction=0.25)
    mean, std = data.train.channel_statistics()
    vit = make_vit()
    model = npf.FeatureClassifier.from_module(vit, mean=mean, std=std)
    train(model, data.train, options.epochs, 2e-3, discriminative=False)
    models = {f"softmax loss, {options.epochs} epochs": model}
    for name, discriminative in (("with it", False), ("discriminative", True)):
        models[f"then {options.more_epochs} more, {name}"] = train(
            copy.deepcopy(model), data.train, options.more_epochs, 5e-4, discriminative=discriminative
        )

    print(f"{'test accuracy in %':<30}" + "".join(f"{spec:>14}" for spec in SPECS))
    for name, each in models.items():
        report = npf.evaluate(each, data.test, SPECS)
        print(f"{name:<30}" + "".join(f"{100 * report[spec].mean:14.1f}" for spec in SPECS))


if __name__ == "__main__":
    main()
