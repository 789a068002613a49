"""Steps on a GPU by the training loops of others, as their documents show it: logs, bars and checkpoints are off.

Each takes the model, inputs and targets, the batch size, the number of steps, the device and the loss, and returns the seconds
of its ``fit`` or ``train``.
"""

import tempfile
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

Loss = Callable[[Tensor, Tensor], Tensor]


def train_with_lightning(
    model: nn.Module, x: Tensor, y: Tensor, batch: int, steps: int, device: str, loss: Loss
) -> float:
    """PyTorch Lightning."""
    import pytorch_lightning as lightning

    class Module(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def training_step(self, pair: tuple[Tensor, Tensor], _index: int) -> Tensor:
            return loss(self.model(pair[0]), pair[1])

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.AdamW(self.parameters(), lr=1e-4, fused=True)

    trainer = lightning.Trainer(
        max_steps=steps,
        accelerator="gpu" if device == "cuda" else "cpu",
        devices=1,
        precision="bf16-mixed",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    began = time.perf_counter()
    trainer.fit(Module(), DataLoader(TensorDataset(x, y), batch, shuffle=True, pin_memory=device == "cuda"))
    return time.perf_counter() - began


def train_with_transformers(
    model: nn.Module, x: Tensor, y: Tensor, batch: int, steps: int, device: str, loss: Loss
) -> float:
    """The Trainer of transformers."""
    from transformers import Trainer, TrainingArguments

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, x: Tensor, labels: Tensor) -> dict[str, Tensor]:
            return {"loss": loss(self.model(x), labels)}

    class Named(Dataset[dict[str, Tensor]]):
        def __len__(self) -> int:
            return len(x)

        def __getitem__(self, index: int) -> dict[str, Tensor]:
            return {"x": x[index], "labels": y[index]}

    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder,
            max_steps=steps,
            per_device_train_batch_size=batch,
            learning_rate=1e-4,
            lr_scheduler_type="constant",
            max_grad_norm=0.0,
            bf16=True,
            optim="adamw_torch_fused",
            save_strategy="no",
            logging_strategy="no",
            report_to=[],
            disable_tqdm=True,
            remove_unused_columns=False,
            use_cpu=device == "cpu",
            seed=0,
        )
        trainer = Trainer(Model(), arguments, train_dataset=Named())
        began = time.perf_counter()
        trainer.train()
        return time.perf_counter() - began


# By the distribution that has to be there.
PEER_LOOPS = {"pytorch-lightning": train_with_lightning, "transformers": train_with_transformers}
