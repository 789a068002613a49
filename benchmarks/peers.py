"""The same training by the training loops of others, as their documents show it: ``bare``, with logs, bars, clipping and
checkpoints off, or with these on, as a training is run that somebody wants to follow and to keep.

Each function takes the model and two data sets of (x, y), and returns (seconds, validation accuracy).
"""

import tempfile
import time
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset, TensorDataset

EPOCHS, BATCH, EVALUATION_BATCH, RATE = 3, 64, 1024, 1e-3

Trained = tuple[float, float]


def train_with_lightning(model: nn.Module, train: TensorDataset, held_out: TensorDataset, bare: bool) -> Trained:
    """PyTorch Lightning; not ``bare``: its own bar, logger and checkpoints, and the loss logged as in its first example."""
    import pytorch_lightning as lightning

    class Module(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.model = model
            self.hits = 0

        def training_step(self, batch: tuple[Tensor, Tensor], _index: int) -> Tensor:
            x, y = batch
            loss = functional.cross_entropy(self.model(x), y)
            if not bare:
                self.log("train_loss", loss)
            return loss

        def on_validation_epoch_start(self) -> None:
            self.hits = 0

        def validation_step(self, batch: tuple[Tensor, Tensor], _index: int) -> None:
            x, y = batch
            self.hits += int((self.model(x).argmax(1) == y).sum())

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.AdamW(self.parameters(), lr=RATE)

    module = Module()
    off = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False}
    with tempfile.TemporaryDirectory() as folder:
        trainer = lightning.Trainer(
            max_epochs=EPOCHS,
            accelerator="cpu",
            num_sanity_val_steps=0,
            default_root_dir=folder,
            **(off if bare else {"gradient_clip_val": 1.0}),
        )
        began = time.perf_counter()
        trainer.fit(module, DataLoader(train, BATCH, shuffle=True), DataLoader(held_out, EVALUATION_BATCH))
        return time.perf_counter() - began, module.hits / len(held_out)


def train_with_transformers(model: nn.Module, train: TensorDataset, held_out: TensorDataset, bare: bool) -> Trained:
    """The Trainer of transformers; not ``bare``: its own clipping, bar and log, and a checkpoint an epoch."""
    from transformers import Trainer, TrainingArguments

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, x: Tensor, labels: Tensor) -> dict[str, Tensor]:
            logits = self.model(x)
            return {"loss": functional.cross_entropy(logits, labels), "logits": logits}

    class Named(Dataset[dict[str, Tensor]]):
        def __init__(self, pairs: TensorDataset) -> None:
            self.pairs = pairs

        def __len__(self) -> int:
            return len(self.pairs)

        def __getitem__(self, index: int) -> dict[str, Tensor]:
            x, y = self.pairs[index]
            return {"x": x, "labels": y}

    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder,
            num_train_epochs=EPOCHS,
            per_device_train_batch_size=BATCH,
            per_device_eval_batch_size=EVALUATION_BATCH,
            learning_rate=RATE,
            weight_decay=0.01,
            lr_scheduler_type="constant",
            max_grad_norm=0.0 if bare else 1.0,
            eval_strategy="epoch",
            save_strategy="no" if bare else "epoch",
            logging_strategy="no" if bare else "steps",
            report_to=[],
            disable_tqdm=bare,
            remove_unused_columns=False,
            use_cpu=True,
            seed=0,
        )

        def accuracy(prediction: Any) -> dict[str, float]:
            return {"accuracy": float((prediction.predictions.argmax(1) == prediction.label_ids).mean())}

        trainer = Trainer(
            Model(), arguments, train_dataset=Named(train), eval_dataset=Named(held_out), compute_metrics=accuracy
        )
        began = time.perf_counter()
        trainer.train()
        seconds = time.perf_counter() - began
        return seconds, trainer.evaluate()["eval_accuracy"]


def train_with_accelerate(model: nn.Module, train: TensorDataset, held_out: TensorDataset, bare: bool) -> Trained:
    """A hand-written loop over what Accelerate prepares; not ``bare``: with clipping, and its state saved every epoch. A bar
    and a log it leaves to others."""
    from accelerate import Accelerator

    accelerator = Accelerator(cpu=True)
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE)
    loaders = DataLoader(train, BATCH, shuffle=True), DataLoader(held_out, EVALUATION_BATCH)
    model, optimizer, batches, evaluation_batches = accelerator.prepare(model, optimizer, *loaders)
    hits = 0
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        for epoch in range(EPOCHS):
            model.train()
            for x, y in batches:
                optimizer.zero_grad()
                accelerator.backward(functional.cross_entropy(model(x), y))
                if not bare:
                    accelerator.clip_grad_norm_(model.parameters(), 1.0)
                optimizer.step()
            model.eval()
            with torch.no_grad():
                hits = sum(int((model(x).argmax(1) == y).sum()) for x, y in evaluation_batches)
            if not bare:
                accelerator.save_state(f"{folder}/{epoch}")
        return time.perf_counter() - began, hits / len(held_out)


# By the distribution that has to be there.
PEERS = {
    "pytorch-lightning": train_with_lightning,
    "transformers": train_with_transformers,
    "accelerate": train_with_accelerate,
}
