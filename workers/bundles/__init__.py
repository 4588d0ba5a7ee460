"""A registered model as one file, and the proof that it predicts as training did."""
