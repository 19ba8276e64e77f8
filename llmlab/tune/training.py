"""One round: transformers' trainer over the examples, ending in a folder like a hub snapshot.

It can be killed at any moment. Its checkpoints are in the round's folder, and the same call goes
on from the last one that is whole.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from llmlab.errors import EnvironmentFailure, UsageError
from llmlab.files import write_atomically
from llmlab.runtimes.decoding import Decoding, summarization_params, window
from llmlab.tune.batches import ByLength
from llmlab.tune.examples import Example, Examples
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
    from transformers import (
        DataCollatorForSeq2Seq,
        EarlyStoppingCallback,
        PrinterCallback,
        Seq2SeqTrainer,
        set_seed,
    )
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    if parameters.threads:
        torch.set_num_threads(parameters.threads)
    set_seed(parameters.seed)
    tokenizer, model = _load(start)
    weights = sum(one.numel() for one in model.parameters())
    reader = _Reader.of(start, tokenizer, model.config)
    learned, checked = reader.examples(split.train), reader.examples(split.validation)
    if not learned.all or not checked.all:
        raise EnvironmentFailure(
            "no text has a reference whose words are within one window of the model",
            fix="references that say what the text says, or a base with a larger window",
        )
    if parameters.method == "lora":
        model = _with_lora(model, parameters)
    moving = sum(one.numel() for one in model.parameters() if one.requires_grad)
    settings = _settings(folder / CHECKPOINTS, parameters, len(learned.all))
    rows = [reader.row(one) for one in learned.all]
    order = ByLength([len(row["input_ids"]) for row in rows], parameters.batch, parameters.seed)

    class Trainer(Seq2SeqTrainer):  # type: ignore[misc]
        def _get_train_sampler(self, train_dataset: Any = None) -> Any:
            return order

    trainer = Trainer(
        model=model,
        args=settings,
        data_collator=DataCollatorForSeq2Seq(tokenizer, model=model),
        train_dataset=rows,
        eval_dataset=[reader.row(one) for one in checked.all[:LOOKED_AT]],
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
    best = trainer.model.merge_and_unload() if parameters.method == "lora" else trainer.model
    _save(best, start, folder / MODEL)
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


def _load(start: Path) -> tuple[Any, Any]:
    """Tokenizer and model."""
    import torch
    from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

    here = {"local_files_only": True, "trust_remote_code": False}
    try:
        tokenizer = AutoTokenizer.from_pretrained(start, **here)
        model = AutoModelForSeq2SeqLM.from_pretrained(
            start, use_safetensors=True, dtype=torch.float32, **here
        )
    except (OSError, ValueError, KeyError) as error:
        raise UsageError(
            f"{start} cannot be loaded: {str(error).strip().splitlines()[0]}",
            fix="an encoder-decoder that transformers has itself; code that a model brings along "
            "is never run",
        ) from None
    return tokenizer, model


@dataclass(frozen=True)
class _Reader:
    """Texts as this model reads and writes them."""

    tokenizer: Any
    prefix: str
    window: int
    longest: int

    @classmethod
    def of(cls, start: Path, tokenizer: Any, config: Any) -> _Reader:
        task = summarization_params(start)
        longest = max(Decoding.of(task).max_length, 100)
        return cls(tokenizer, task.get("prefix", ""), window(tokenizer, config), longest)

    def examples(self, cases: Sequence[Any]) -> Examples:
        return Examples.of(cases, self.window, self._tokens)

    def row(self, example: Example) -> dict[str, list[int]]:
        read = self.tokenizer(self.prefix + example.source, truncation=True, max_length=self.window)
        written = self.tokenizer(
            text_target=example.target, truncation=True, max_length=self.longest
        )
        return {
            "input_ids": read["input_ids"], "attention_mask": read["attention_mask"],
            "labels": written["input_ids"],
        }  # fmt: skip

    def _tokens(self, text: str) -> int:
        return len(self.tokenizer(self.prefix + text, verbose=False)["input_ids"])


def _settings(folder: Path, parameters: Parameters, examples: int) -> Any:
    import torch
    from transformers import Seq2SeqTrainingArguments

    of_epoch = math.ceil(examples / parameters.batch)
    steps = max(1, math.ceil(of_epoch * parameters.epochs))
    # Each look is a checkpoint as well: often enough for a kill to cost little, and not so often
    # that looking is what takes the time.
    every = max(1, min(of_epoch, math.ceil(steps / LOOKS)), steps // (2 * LOOKS))
    gpu = torch.cuda.is_available()
    return Seq2SeqTrainingArguments(
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


def _with_lora(model: Any, parameters: Parameters) -> Any:
    from peft import LoraConfig, TaskType, get_peft_model

    return get_peft_model(
        model,
        LoraConfig(
            task_type=TaskType.SEQ_2_SEQ_LM, target_modules="all-linear", r=parameters.rank,
            lora_alpha=parameters.alpha, lora_dropout=parameters.dropout,
        ),
    )  # fmt: skip


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


def _save(model: Any, start: Path, target: Path) -> None:
    """Write the model; it is there in one step, and reads and decodes as the one that it started
    from."""
    from transformers import AutoTokenizer

    part = target.with_name(f".{target.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    shutil.rmtree(target, ignore_errors=True)
    model.save_pretrained(part)
    # Not the one that was trained with: at what length it last cut a text, it would save as well.
    AutoTokenizer.from_pretrained(start, local_files_only=True).save_pretrained(part)
    task = json.loads((start / "config.json").read_text(encoding="utf-8"))
    file = part / "config.json"
    config = json.loads(file.read_text(encoding="utf-8"))
    if "task_specific_params" in task:
        config["task_specific_params"] = task["task_specific_params"]
    file.write_text(json.dumps(config, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    part.rename(target)
