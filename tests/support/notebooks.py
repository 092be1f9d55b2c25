"""What tests of notebooks share."""

import nbformat

from deeptrade.notebook import run as run_module


def figures_of(result):
    """What a result says of the data and the training, without paths and times."""
    kept = ("rows", "steps", "epochs", "batch_size", "accum_steps", "train", "validation", "weights_sha256", "data_id")
    return {name: result[name] for name in kept}


def stand_in(monkeypatch, fail_at="", error=None):
    """Notebooks that write what the next one needs, without kernels."""
    done = []

    def execute(notebook, out, values):
        done.append(notebook.stem)
        nbformat.write(nbformat.v4.new_notebook(), out)
        if notebook.stem == fail_at:
            raise error
        if notebook.stem == "02_auto_optimize":
            from deeptrade import optimize

            optimize(values["csv"], out=values["out"], quick=True)

    monkeypatch.setattr(run_module, "_execute", execute)
    return done
