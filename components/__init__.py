"""The distributed parts: each module is one concern of Ray, MLflow or storage, callable from a pipeline."""
