"""How good predictions are: metrics, their intervals, and what explains them."""
