"""Training: recipes, the loop, and the folder that a run leaves."""

from noiseproof.training.fitting import FittedModel, fit_model
from noiseproof.training.recipe import Recipe
from noiseproof.training.recipes import load_recipe, recipe_names
from noiseproof.training.run import Run, train

__all__ = ["FittedModel", "Recipe", "Run", "fit_model", "load_recipe", "recipe_names", "train"]
