"""What tests of results share."""


def make_result(mae=(0.01, 0.03), zero=(0.02, 0.02)):
    return {
        "status": "completed",
        "steps": 12,
        "rows": {"read": 100, "trained": 80, "validation": 10, "purged": 4, "rejected": 6, "unused": 0},
        "batch_size": 4,
        "accum_steps": 2,
        "validation": {"loss": 0.5, "mae": list(mae), "zero_mae": list(zero), "directional_accuracy": [0.5, None]},
        "memory": {"peak_anon_bytes": 300 << 20, "baseline_anon_bytes": 100 << 20},
        "time": {
            "wall_seconds": 20.0,
            "data_wait_seconds": 1.0,
            "step_seconds_median": 0.25,
            "steps_seconds": 11.0,
            "first_steps_seconds": 4.0,
            "activity_seconds": {"save": 0.5, "validate": 2.0, "build": 1.5},
        },
        "settings": {"cache_batches": 0, "no_lazy_loading": False},
    }
