"""The discriminative loss in a Lightning module, beside the softmax loss alone.

    python examples/lightning_module.py

The loss keeps its class centroids in a buffer, so Lightning moves them to the device and saves them in checkpoints.
Needs ``pip install lightning``.
"""

from __future__ import annotations

import argparse
import logging
import warnings

import lightning
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader

import noiseproof as npf
from noiseproof.data import Splits, load_splits

SPECS = ("clean", "gaussian:0.1", "gaussian:0.2", "gaussian:0.3")


class DigitClassifier(lightning.LightningModule):
    """A small network on 8×8 digits, trained with or without the discriminative loss."""

    def __init__(self, mean: list[float], std: list[float], discriminative: bool) -> None:
        super().__init__()
        self.discriminative = discriminative
        self.model = npf.build_model("small-cnn", num_classes=10, embedding_dim=64, in_channels=1, mean=mean, std=std)
        self.loss_fn = npf.DiscriminativeLoss(num_classes=10, embedding_dim=64)
        self.noise = npf.perturbation("gaussian:0.3")

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)

    def training_step(self, batch: tuple[Tensor, Tensor], _: int) -> Tensor:
        x, y = batch
        embeddings = self.model.embed(x)
        loss = F.cross_entropy(self.model.head(embeddings), y)
        if self.discriminative:
            noisy = self.model.embed(self.noise(x))
            terms = self.loss_fn(embeddings, y, self.model.head, noisy_embeddings=noisy)
            self.log_dict({"compactness": terms.compactness, "margin": terms.margin, "alignment": terms.alignment})
            loss = loss + terms.total
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), lr=2e-3)


def train(data: Splits, discriminative: bool, epochs: int) -> npf.RobustnessReport:
    lightning.seed_everything(0, verbose=False)
    module = DigitClassifier(*data.train.channel_statistics(), discriminative)
    trainer = lightning.Trainer(
        max_epochs=epochs, logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(module, DataLoader(data.train, batch_size=64, shuffle=True))
    return npf.evaluate(module.model, data.test, SPECS)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=20)
    epochs = parser.parse_args().epochs
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="lightning")  # on workers of the loader, which lies in memory

    data = load_splits("digits", test_fraction=0.25)
    print(f"{'test accuracy in %':<24}" + "".join(f"{spec:>14}" for spec in SPECS))
    for name, discriminative in (("softmax loss", False), ("with discriminative", True)):
        report = train(data, discriminative, epochs)
        print(f"{name:<24}" + "".join(f"{100 * report[spec].mean:14.1f}" for spec in SPECS))


if __name__ == "__main__":
    main()
