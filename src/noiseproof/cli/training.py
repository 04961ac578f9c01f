"""Commands that train: train, compare, recipes."""

from __future__ import annotations

import math
import shlex
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from noiseproof.cli import completion
from noiseproof.cli.app import app
from noiseproof.cli.common import (
    DataOption,
    DryRunOption,
    InitFromOption,
    OutOption,
    OverwriteOption,
    PresetOption,
    RecipeArgument,
    SetOption,
    overrides_of,
    progress,
    show,
    split,
    whole_numbers,
)
from noiseproof.cli.console import output
from noiseproof.cli.dry_run import show_rehearsal

if TYPE_CHECKING:
    from noiseproof.training import Run

__all__ = ["compare", "recipes", "train"]


@app.command()
def train(
    recipe: RecipeArgument,
    method: Annotated[
        str | None,
        typer.Option("--method", "-m", help="normal, noisy, mixed, stability, …", autocompletion=completion.methods),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of weights, order, augmentation and noise.")] = None,
    changes: SetOption = None,
    data: DataOption = None,
    init_from: InitFromOption = None,
    preset: PresetOption = None,
    out: OutOption = None,
    overwrite: OverwriteOption = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in the folder.")] = False,
    dry_run: DryRunOption = False,
) -> None:
    """Train one method and leave a run folder."""
    import noiseproof
    from noiseproof.errors import InvalidArgumentError
    from noiseproof.training import load_recipe
    from noiseproof.training.run import default_folder

    if resume and overwrite:
        raise InvalidArgumentError("--resume goes on with a run and --overwrite replaces it: give one of them")
    base = load_recipe(recipe, overrides_of(changes, data, init_from, preset))
    base = base.for_run(base.method if method is None else method, base.seed if seed is None else seed)
    if dry_run:
        from noiseproof.rehearsing import rehearse

        show_rehearsal(rehearse(base, out=out, overwrite=overwrite, resume=resume, progress=progress()))
        return
    folder = out or default_folder(base)
    if resume and not (folder / "recipe.yaml").is_file():
        show(f"there is no run in {folder} to go on with: it begins anew")
    run = noiseproof.train(base, out=folder, overwrite=overwrite, resume=resume, progress=progress())
    last = run.metrics()[-1]
    show(
        f"{run.name}: {last['step']} steps, final training loss {last['loss']:.4f}, "
        f"training accuracy {100 * last['accuracy']:.1f} %\nrun folder: {run.folder}"
    )
    if caveat := run.recipe.caveat:
        show(f"note: {caveat}")
    if (learnt_nothing := _learnt_nothing(run)) is not None:
        other = ", or --method mixed" if run.recipe.method in ("stability", "discriminative") else ""
        show(
            f"the training accuracy is no better than {learnt_nothing}; try another train.optimizer.lr, "
            f"train.clip_grad_norm=1, more epochs{other}"
        )
    else:
        show(f"test accuracy, clean and under noise: noiseproof evaluate {shlex.quote(str(run.folder))}")


def _learnt_nothing(run: Run) -> str | None:
    """What a run's training accuracy is no better than, beyond three standard errors; None where it is."""
    accuracy, samples = run.metrics()[-1]["accuracy"], run.recipe.provenance["samples"]["train"]
    chance = 1 / run.num_classes
    largest = chance
    if run.recipe.train.class_weight is None:  # else every class counts the same
        largest = run.recipe.provenance.get("largest_class_share", chance)
    margin, above = (3 * math.sqrt(share * (1 - share) / samples) for share in (chance, largest))
    if accuracy < chance + margin:
        return f"guessing one of {run.num_classes} classes"
    if accuracy < largest + above and largest > chance + margin:
        return f"always answering the most frequent of {run.num_classes} classes, {100 * largest:.1f} % of the samples"
    return None


@app.command()
def compare(
    recipe: RecipeArgument,
    methods: Annotated[
        str, typer.Option(help="Names with commas between, or all.", autocompletion=completion.methods_with_commas)
    ] = "all",
    seeds: Annotated[str, typer.Option(help="Numbers with commas between.")] = "0,1,2",
    changes: SetOption = None,
    data: DataOption = None,
    init_from: InitFromOption = None,
    preset: PresetOption = None,
    out: OutOption = None,
    overwrite: OverwriteOption = False,
    explain: Annotated[
        bool, typer.Option("--explain", help="Let the report show curvature, features and the theorems too.")
    ] = False,
    dry_run: DryRunOption = False,
) -> None:
    """Train several methods with several seeds, evaluate them, and write table and report.

    What is finished in the output folder is not run again.
    """
    import noiseproof
    from noiseproof.experiments import comparison_folder
    from noiseproof.methods import PAPER_METHODS
    from noiseproof.reporting import comparison_table
    from noiseproof.training import load_recipe

    chosen = list(PAPER_METHODS) if methods == "all" else split(methods)
    overrides = overrides_of(changes, data, init_from, preset)
    if dry_run:
        from noiseproof.rehearsing import rehearse

        numbered = whole_numbers("--seeds", seeds)
        show_rehearsal(
            rehearse(
                recipe, chosen, numbered, overrides, out, overwrite=overwrite, explain=explain, progress=progress()
            )
        )
        return
    folder = out or comparison_folder(load_recipe(recipe, overrides))
    comparison = noiseproof.compare(
        recipe, chosen, whole_numbers("--seeds", seeds), overrides, folder, overwrite=overwrite, explain=explain,
        progress=progress(),
    )  # fmt: skip
    output().print(comparison_table(comparison).to_rich())
    show(f"report: {folder / 'report.html'}")


@app.command()
def recipes(
    name: Annotated[
        str | None, typer.Argument(help="Show this recipe with every default.", autocompletion=completion.recipes)
    ] = None,
) -> None:
    """List the recipes, or show one whole."""
    from noiseproof.training.recipes import dump_recipe, load_recipe, recipe_names

    if name is not None:
        show(dump_recipe(load_recipe(name).with_all_options()).removesuffix("\n"))
        return
    for each in recipe_names():
        line = Text.assemble((each, "bold"), "  ", load_recipe(each).description)
        output().print(line, highlight=False, soft_wrap=True)
