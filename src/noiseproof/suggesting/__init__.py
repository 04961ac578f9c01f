"""Values for δ_v, δ_d, σ and the momentum, proposed from what is measured on a model, its data and its sensor."""

from noiseproof.suggesting.advice import Advice, Proposal
from noiseproof.suggesting.features import FeatureFacts, feature_facts
from noiseproof.suggesting.packing import largest_delta_d, spread_needed
from noiseproof.suggesting.sensor import (
    SensorNoise,
    noise_of_pictures,
    noise_of_repeats,
    noise_of_series,
    read_repeats,
)
from noiseproof.suggesting.suggestion import suggest

__all__ = [
    "Advice",
    "FeatureFacts",
    "Proposal",
    "SensorNoise",
    "feature_facts",
    "largest_delta_d",
    "noise_of_pictures",
    "noise_of_repeats",
    "noise_of_series",
    "read_repeats",
    "spread_needed",
    "suggest",
]
