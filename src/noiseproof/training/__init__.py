"""Training: recipes, the loop, and the folder that a run leaves."""

from noiseproof.training.recipe import Recipe
from noiseproof.training.recipes import load_recipe, recipe_names
from noiseproof.training.run import Run, train

__all__ = ["Recipe", "Run", "load_recipe", "recipe_names", "train"]
