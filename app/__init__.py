"""The service: accepts, queues, supervises, streams. Never imports torch, numpy, pandas or mlflow."""
