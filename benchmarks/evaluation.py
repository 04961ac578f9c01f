"""What evaluation costs beyond the model's own forward passes: ResNet-18, 6 levels, 10 draws."""

from __future__ import annotations

import torch

import noiseproof as npf
from benchmarks.ratios import arguments, measure, save

LEVELS = ["clean", *(f"gaussian:{level}/255" for level in (2, 4, 8, 16, 20))]
DRAWS, IMAGES, BATCH = 10, 64, 512


def main() -> None:
    options = arguments(__doc__ or "")
    model = npf.build_model("resnet18-cifar", num_classes=10).eval()
    images, labels = torch.rand(IMAGES, 3, 32, 32), torch.randint(10, (IMAGES,))
    passes = IMAGES * (1 + (len(LEVELS) - 1) * DRAWS)
    batches = torch.rand(BATCH, 3, 32, 32).repeat(-(-passes // BATCH), 1, 1, 1)[:passes].split(BATCH)

    def bare() -> None:
        with torch.no_grad():
            for batch in batches:
                model(batch)

    found = measure(
        f"evaluate, {len(LEVELS)} levels × {DRAWS} draws, against {passes} bare forward passes",
        lambda: npf.evaluate(model, (images, labels), LEVELS, draws=DRAWS, batch_size=BATCH),
        bare,
        rounds=options.rounds,
        aim=1.15,
    )
    save(options.json, [found])


if __name__ == "__main__":
    main()
