"""The registered model as MLflow loads it: this file is stored with the model as text, never pickled.

In: uint8 RGB clips [N, T, H, W, 3]. Out: probabilities [N, C], or logits with params={"output": "logits"}.
"""

from typing import Any

import mlflow
import numpy as np
from mlflow.pyfunc import PythonModel, PythonModelContext  # type: ignore[attr-defined]
from numpy.typing import NDArray

from dtcm.bundle import load_bundle


class ServedModel(PythonModel):
    """A bundle of weights, experiment and class names behind MLflow's interface."""

    def load_context(self, context: PythonModelContext) -> None:
        """Read the bundle that was logged with the model."""
        self.bundle = load_bundle(context.artifacts["bundle"])

    def predict(
        self,
        context: PythonModelContext,
        model_input,  # noqa: ANN001 - MLflow would read a type here as a schema, and reject one for arrays
        params: dict[str, Any] | None = None,
    ) -> NDArray[np.float32]:
        """Probabilities [N, C] of the clips, or logits."""
        logits = self.bundle.predict(np.asarray(model_input, dtype=np.uint8)).logits.numpy()
        if (params or {}).get("output") == "logits":
            return logits
        exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
        return exponentials / exponentials.sum(axis=1, keepdims=True)


mlflow.models.set_model(ServedModel())
