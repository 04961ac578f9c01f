"""The paper's tables and figures, each a declared experiment that can be run, stopped, gone on with and compared."""

from noiseproof.paper.declaration import Experiment, Published, Row, experiment_names, load_experiment
from noiseproof.paper.planning import Setting, plan
from noiseproof.paper.reproduction import Reproduction, reproduce

__all__ = [
    "Experiment",
    "Published",
    "Reproduction",
    "Row",
    "Setting",
    "experiment_names",
    "load_experiment",
    "plan",
    "reproduce",
]
