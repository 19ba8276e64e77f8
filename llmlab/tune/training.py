"""One round: transformers' trainer over the examples, ending in a folder with a model.

It can be killed at any moment. Its checkpoints are in the round's folder, and the same call goes
on from the last one that is whole.
"""

from __future__ import annotations

import json
import math
import shutil
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from llmlab.errors import EnvironmentFailure
from llmlab.files import write_atomically
from llmlab.tune.batches import ByLength
from llmlab.tune.learner import Load
from llmlab.tune.parameters import Parameters
from llmlab.tune.split import Split
from llmlab.tune.watching import Clock, Step, watcher

TRAINED, MODEL, CHECKPOINTS = "trained.json", "model", "checkpoints"
WARM_UP = 0.05  # of the steps, in which the rate rises
LOOKS = 10  # at the validation part in a round, at least, if an epoch is long
LOOKED_AT = 200  # examples of the validation part, at most, that the loss is taken of


@dataclass(frozen=True)
class Trained:
    """What came of a round.

    Args:
        steps, epochs: how far it got.
        examples, left_out: of the training part; see ``examples``.
        losses: [step, loss, validation loss]; None where one was not taken.
        out_of_time: whether it ended because the budget did.
    """

    steps: int
    epochs: float
    examples: int
    left_out: int
    losses: tuple[tuple[int, float | None, float | None], ...]
    best_loss: float | None
    precision: str
    device: str
    weights: int
    trained_weights: int
    out_of_time: bool

    @classmethod
    def read(cls, folder: Path) -> Trained | None:
        """What a round has left, if it came to its end."""
        try:
            found = json.loads((folder / TRAINED).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        return cls(**found | {"losses": tuple(tuple(one) for one in found["losses"])})


def train(
    load: Load,
    start: Path,
    folder: Path,
    split: Split,
    parameters: Parameters,
    *,
    clock: Clock,
    tell: Callable[[Step], None],
) -> Trained:
    """Train the model in ``start``; the result is in ``folder/model``.

    Args:
        load: takes a model of its kind into memory.
        folder: of this round; what an earlier call has left there is taken up.
        clock: says when the time is over, and is told at every checkpoint.
        tell: called after every step.

    Raises:
        EnvironmentFailure: the loss is no number any more.
        UsageError: the model cannot be loaded.
    """
    if done := Trained.read(folder):
        return done
    import torch
    from transformers import EarlyStoppingCallback, PrinterCallback, set_seed
    from transformers import Trainer as AnyTrainer
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    if parameters.threads:
        torch.set_num_threads(parameters.threads)
    set_seed(parameters.seed)
    learner = load(start)
    learned, checked = learner.rows(split.train, split.validation)
    if not learned.all or not checked.all:
        raise EnvironmentFailure(
            "no text has a reference whose words are within one window of the model, and no "
            "conversation fits into one",
            fix="references that say what the text says, or a base with a larger window",
        )
    weights = sum(one.numel() for one in learner.model.parameters())
    model = learner.model
    if parameters.method == "lora":
        model = with_lora(model, learner.task, parameters)
    moving = sum(one.numel() for one in model.parameters() if one.requires_grad)
    settings = _settings(folder / CHECKPOINTS, parameters, len(learned.all))
    lengths = [len(row["input_ids"]) for row in learned.all]
    order = ByLength(lengths, parameters.batch, parameters.seed)

    class Trainer(AnyTrainer):  # type: ignore[misc]
        def _get_train_sampler(self, train_dataset: Any = None) -> Any:
            return order

    trainer = Trainer(
        model=model,
        args=settings,
        data_collator=learner.collator,
        train_dataset=list(learned.all),
        eval_dataset=list(checked.all[:LOOKED_AT]),
        callbacks=[
            EarlyStoppingCallback(early_stopping_patience=parameters.patience),
            watcher(clock, tell),
        ],
    )
    trainer.remove_callback(PrinterCallback)  # it prints to stdout
    trainer.train(resume_from_checkpoint=last_checkpoint(folder / CHECKPOINTS))
    state = trainer.state
    losses = _losses(state.log_history)
    if state.best_metric is None or not math.isfinite(state.best_metric):
        raise EnvironmentFailure(
            "the loss is no number any more: the steps were too large",
            fix=f"--rate {parameters.rate / 10:g} --fresh",
        )
    learner.save(trainer.model, folder / MODEL)
    trained = Trained(
        steps=state.global_step, epochs=round(float(state.epoch or 0), 2),
        examples=len(learned.all), left_out=learned.left_out, losses=losses,
        best_loss=float(state.best_metric), precision="bf16" if settings.bf16 else "fp32",
        device=settings.device.type, weights=weights,
        trained_weights=moving, out_of_time=clock.is_over,
    )  # fmt: skip
    write_atomically(folder / TRAINED, json.dumps(asdict(trained)) + "\n")
    shutil.rmtree(folder / CHECKPOINTS)
    return trained


def _settings(folder: Path, parameters: Parameters, examples: int) -> Any:
    import torch
    from transformers import TrainingArguments

    of_epoch = math.ceil(examples / parameters.batch)
    steps = max(1, math.ceil(of_epoch * parameters.epochs))
    # Each look is a checkpoint as well: often enough for a kill to cost little, and not so often
    # that looking is what takes the time.
    every = max(1, min(of_epoch, math.ceil(steps / LOOKS)), steps // (2 * LOOKS))
    gpu = torch.cuda.is_available()
    return TrainingArguments(
        output_dir=str(folder), num_train_epochs=parameters.epochs,
        per_device_train_batch_size=parameters.batch,
        per_device_eval_batch_size=2 * parameters.batch,
        learning_rate=parameters.rate, warmup_steps=WARM_UP, lr_scheduler_type="linear",
        weight_decay=0.01, max_grad_norm=1.0,
        eval_strategy="steps", eval_steps=every, save_strategy="steps", save_steps=every,
        save_total_limit=2, load_best_model_at_end=True, metric_for_best_model="eval_loss",
        greater_is_better=False, restore_callback_states_from_checkpoint=True,
        logging_steps=max(1, every // 2), report_to="none", disable_tqdm=True,
        # T5's activations leave fp16's range, so it is bf16 or nothing.
        bf16=gpu and torch.cuda.is_bf16_supported(), use_cpu=not gpu,
        label_names=["labels"], dataloader_pin_memory=gpu,
        seed=parameters.seed, data_seed=parameters.seed,
    )  # fmt: skip


def with_lora(model: Any, task: str, parameters: Parameters) -> Any:
    from peft import LoraConfig, TaskType, get_peft_model

    config = LoraConfig(
        task_type=TaskType[task], target_modules="all-linear", r=parameters.rank,
        lora_alpha=parameters.alpha, lora_dropout=parameters.dropout,
    )  # fmt: skip
    with warnings.catch_warnings():  # of names that transformers will drop, and PEFT uses
        warnings.simplefilter("ignore", FutureWarning)
        return get_peft_model(model, config)


def last_checkpoint(folder: Path) -> str | None:
    """The newest checkpoint that is whole: the trainer writes its state last."""

    def is_whole(checkpoint: Path) -> bool:
        try:
            json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return False
        return True

    found = sorted(folder.glob("checkpoint-*"), key=lambda one: -int(one.name.split("-")[1]))
    return next((str(one) for one in found if is_whole(one)), None)


def _losses(
    history: Sequence[Mapping[str, Any]],
) -> tuple[tuple[int, float | None, float | None], ...]:
    found: dict[int, tuple[float | None, float | None]] = {}
    for entry in history:
        step = int(entry["step"])
        loss, checked = found.get(step, (None, None))
        found[step] = (entry.get("loss", loss), entry.get("eval_loss", checked))
    return tuple((step, *both) for step, both in sorted(found.items()) if any(both))
