"""Programs that run as children: `model_worker` in a model's own environment, `platform_worker` in ours."""
