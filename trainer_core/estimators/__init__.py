"""Training of scikit-learn estimators: what the native engine's loop is for networks. Never imports torch."""
