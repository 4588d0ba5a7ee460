"""A whole pipeline, from columns to predictions, as one ONNX graph."""
