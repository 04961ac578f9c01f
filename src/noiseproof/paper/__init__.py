"""The paper's tables and figures, each a declared experiment that can be run, stopped, gone on with and compared."""

from noiseproof.paper.declaration import Experiment, Published, Row, experiment_names, load_experiment

__all__ = ["Experiment", "Published", "Row", "experiment_names", "load_experiment"]
