"""Settings refuse what cannot work, and say what would."""

import json
from dataclasses import replace

import pytest

from onebit.train import TrainSettings


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": "vgg-smal"}, r"Unknown model 'vgg-smal'; did you mean 'vgg-small'\?"),
        ({"scheme": "flaot"}, r"did you mean 'float'\?"),
        ({"dataset": "digit"}, r"did you mean 'digits'\?"),
        ({"augment": "crop-flop"}, r"did you mean 'crop-flip'\?"),
        ({"task": "clasification"}, r"Unknown task 'clasification'; did you mean 'classification'\?"),
        ({"task_options": {"label_smoting": 0.1}}, "Unknown setting 'label_smoting' in task_options; did you mean"),
        ({"best_by": "acuracy"}, r"there is no score 'acuracy'; choose one of \['loss', 'accuracy'\]"),
        ({"method": "plian"}, r"did you mean 'plain'\?"),
        ({"optimizer": "adma"}, r"Unknown optimizer 'adma'"),
        ({"schedule": "cosin"}, r"did you mean 'cosine'\?"),
        ({"task_options": {"label_smoothing": 1.0}}, "label_smoothing must be from 0 to below 1, got 1"),
        ({"epochs": 0}, "epochs must be an integer of at least 1, got 0"),
        ({"epochs": 1.5}, "epochs must be an integer of at least 1, got 1.5"),
        ({"batch_size": -4}, "batch_size must be an integer of at least 1, got -4"),
        ({"max_steps": 0}, "max_steps must be an integer"),
        ({"image_size": 0}, "image_size must be an integer"),
        ({"lr": 0.0}, "lr must be above 0, got 0.0"),
        ({"lr": "fast"}, "lr must be a number, got 'fast'"),
        ({"betas": (0.9,)}, r"betas must be a list of 2 numbers, got \(0\.9,\)"),
        ({"lr_factors": {"latent": "2"}}, "lr_factors must be an object of numbers, got"),
        ({"lr": 10**400}, "lr must be above 0"),
        ({"epochs": 10**10}, "epochs must be at most 1000000000"),
        ({"lr": float("nan")}, "lr must be above 0, got nan"),
        ({"scale_decay": -1.0}, "scale_decay must be a number from 0 up, got -1.0"),
        ({"weight_decay": float("inf")}, "weight_decay must be a number from 0 up"),
        ({"momentum": 1.0}, "momentum must be from 0 to below 1"),
        ({"warmup": 1.0}, "warmup must be from 0 to below 1"),
        ({"ema": 1.0}, "ema must be from 0 to below 1, got 1.0"),
        ({"ema": "yes"}, "ema must be a number, got 'yes'"),
        ({"mixup": -0.2}, "mixup must be from 0 to 1000, got -0.2"),
        ({"cutmix": float("nan")}, "cutmix must be from 0 to 1000, got nan"),
        ({"two_step": -0.5}, "two_step must be from 0 to below 1, got -0.5"),
        ({"two_step": 0.1}, r"two_step 0\.1 of 3 epochs leaves one stage without an epoch"),
        ({"betas": (0.9, 1.0)}, r"betas\[1\] must be from 0 to below 1"),
        ({"milestones": (0.5, 1.5)}, "milestones must be shares"),
        ({"lr_factors": {"latnt": 2.0}}, "lr_factors must name roles of parameters"),
        ({"lr_factors": {"latent": -2.0}}, "must be a number from 0 up, got -2.0"),
        ({"clip_gradient": 0.0}, "clip_gradient must be above 0"),
        ({"precision": "16"}, "precision must be one of"),
        ({"compile": "yes"}, "compile must be 'auto', true or false, got 'yes'"),
        ({"keep": "first"}, "keep must be 'last' or 'best'"),
        ({"seed": -1}, "seed must be from 0"),
    ],
)
def test_bad_values_are_refused(tiny, change, message):
    with pytest.raises(ValueError, match=message):
        replace(tiny, **change)


def test_json_and_back(tiny):
    assert TrainSettings.from_json(json.loads(json.dumps(tiny.as_json()))) == tiny


def test_settings_of_runs_made_before(tiny):
    fields = tiny.as_json() | {"scheme_options": {"weights": "mean", "weight_granularity": "layer"}}
    for name in ("ema", "mixup", "cutmix"):  # came later
        assert fields.pop(name) == 0
    read = TrainSettings.from_json(json.loads(json.dumps(fields)))
    assert (read.ema, read.mixup, read.cutmix) == (0, 0, 0)
    assert read.scheme_options == {"weights": "mean-scale", "weight_detached": False, "weight_granularity": "layer"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"gann": False}, "Unknown setting 'gann' in method_options; did you mean 'gan'"),
        ({"gan": "false"}, "method_options.gan must be true or false, got 'false'"),
        ({"bn_update": "foo"}, "method_options.bn_update must be a number, got 'foo'"),
        ({"kernel_weight": True}, "method_options.kernel_weight must be a number, got True"),
        ({"layers": "blocks.5"}, "method_options.layers must be a list of strings or null, got 'blocks.5'"),
        ({"layers": [1]}, "method_options.layers must be a list of strings or null, got "),
    ],
)
def test_options_of_the_method_are_checked(options, message):
    with pytest.raises(ValueError, match=message):
        TrainSettings(
            model="resnet20", dataset="digits", epochs=1, batch_size=8, lr=1e-3, method="rbcn", method_options=options
        )
