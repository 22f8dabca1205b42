#!/usr/bin/env python3
"""The PyTorch side of compare_torch.py: trains one model with transformers and peft and prints one JSON object.

usage: torch_steps.py create FOLDER CONFIG              writes a random Llama of that shape (CONFIG is JSON)
       torch_steps.py batches FILE ROWS COLUMNS COUNT VOCABULARY   writes COUNT batches of random tokens
       torch_steps.py train MODEL BATCHES METHOD [--rank R] [--dtype f32|bf16] [--threads N] [--rate LR] [--compile]
                            [--checkpoint] [--adapter FOLDER]
       torch_steps.py gpu CONFIG ROWS COLUMNS STEPS METHOD [--rank R] [--dtype f32|bf16] [--rate LR] [--compile]
                          [--checkpoint]               trains a random Llama of that shape on a GPU, on random tokens

`train` makes one step a batch: forward, backward, AdamW. Peak memory is the process's highest resident set from the
moment the model stands, above the resident set after the imports; `--adapter` is where the fresh adapter is saved. With
`gpu` it is what PyTorch's allocator gave out at most during the steps, weights included."""
import argparse
import json
import re
import time
from pathlib import Path

import peft
import torch
import transformers
from safetensors.torch import load_file, save_file

LINEARS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
DTYPES = {"f32": torch.float32, "bf16": torch.bfloat16}


def status_bytes(field):
    return int(re.search(rf"{field}:\s+(\d+) kB", Path("/proc/self/status").read_text()).group(1)) * 1024


def create(options):
    torch.manual_seed(1)
    model = transformers.LlamaForCausalLM(transformers.LlamaConfig(**json.loads(options.config)))
    model.save_pretrained(options.folder)


def batches(options):
    draw = torch.Generator().manual_seed(2)
    tensors = {}
    for index in range(options.count):
        ids = torch.randint(0, options.vocabulary, (options.rows, options.columns), generator=draw, dtype=torch.int32)
        tensors[f"input_ids.{index}"] = ids
        tensors[f"labels.{index}"] = ids.clone()
        tensors[f"attention_mask.{index}"] = torch.ones_like(ids)
    save_file(tensors, options.file)


def adapter_config(method, rank):
    common = {"target_modules": LINEARS, "task_type": "CAUSAL_LM", "r": rank}
    if method in ("bone", "bat"):
        return peft.BoneConfig(init_weights="bat" if method == "bat" else True, **common)
    return peft.LoraConfig(lora_alpha=rank, use_dora=method == "dora",
                           init_lora_weights="pissa" if method == "pissa" else True, **common)


def with_adapter(model, options):
    """The model as it is trained, and what of it."""
    model.config.use_cache = False
    if options.method != "full":
        model = peft.get_peft_model(model, adapter_config(options.method, options.rank))
    if options.checkpoint:
        model.enable_input_require_grads()
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    model.train()
    return model, [parameter for parameter in model.parameters() if parameter.requires_grad]


def run_steps(options, model, trainable, batches):
    """One step a batch of (ids, labels): forward, backward, AdamW. Reading the loss waits for all of it."""
    optimizer = torch.optim.AdamW(trainable, lr=options.rate, weight_decay=0.0)
    stepped = torch.compile(model) if options.compile else model
    losses, seconds = [], []
    for ids, labels in batches:
        start = time.perf_counter()
        loss = stepped(input_ids=ids, labels=labels).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        losses.append(loss.item())
        seconds.append(time.perf_counter() - start)
    return {"losses": losses, "seconds": seconds, "trainable": sum(parameter.numel() for parameter in trainable),
            "versions": {"torch": torch.__version__, "transformers": transformers.__version__, "peft": peft.__version__}}


def train(options):
    idle = status_bytes("VmRSS")
    torch.set_num_threads(options.threads)
    torch.manual_seed(3)
    model = transformers.AutoModelForCausalLM.from_pretrained(options.model, dtype=DTYPES[options.dtype])
    model, trainable = with_adapter(model, options)
    if options.adapter and options.method != "full":
        model.save_pretrained(options.adapter)
    tensors = load_file(options.batches)
    Path("/proc/self/clear_refs").write_text("5")  # from here on VmHWM is the peak of the steps, not of loading
    batches = [(tensors[f"input_ids.{index}"].long(), tensors[f"labels.{index}"].long()) for index in range(len(tensors) // 3)]
    result = run_steps(options, model, trainable, batches)
    print(json.dumps({**result, "peak_bytes": status_bytes("VmHWM") - idle}))


def train_on_gpu(options):
    if not torch.cuda.is_available():
        raise SystemExit("torch_steps: this PyTorch finds no GPU")
    torch.manual_seed(3)
    config = transformers.LlamaConfig(**json.loads(options.config))
    with torch.device("cuda"):  # made in place, a 7B model too
        model = transformers.AutoModelForCausalLM.from_config(config, dtype=DTYPES[options.dtype])
        model, trainable = with_adapter(model, options)
        ids = torch.randint(0, config.vocab_size, (options.rows, options.columns))
    torch.cuda.reset_peak_memory_stats()
    result = run_steps(options, model, trainable, [(ids, ids)] * options.steps)
    print(json.dumps({**result, "peak_bytes": torch.cuda.max_memory_allocated(), "gpu": torch.cuda.get_device_name()}))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    command = commands.add_parser("create")
    command.add_argument("folder")
    command.add_argument("config")
    command.set_defaults(run=create)
    command = commands.add_parser("batches")
    command.add_argument("file")
    for name in ("rows", "columns", "count", "vocabulary"):
        command.add_argument(name, type=int)
    command.set_defaults(run=batches)
    command = commands.add_parser("train")
    command.add_argument("model")
    command.add_argument("batches")
    command.add_argument("--threads", type=int, default=2)
    command.add_argument("--adapter")
    command.set_defaults(run=train)
    on_gpu = commands.add_parser("gpu")
    on_gpu.add_argument("config")
    for name in ("rows", "columns", "steps"):
        on_gpu.add_argument(name, type=int)
    on_gpu.set_defaults(run=train_on_gpu)
    for command in (command, on_gpu):
        command.add_argument("method", choices=["full", "lora", "pissa", "dora", "bone", "bat"])
        command.add_argument("--rank", type=int, default=32)
        command.add_argument("--dtype", choices=DTYPES, default="f32")
        command.add_argument("--rate", type=float, default=1e-3)
        command.add_argument("--compile", action="store_true")
        command.add_argument("--checkpoint", action="store_true")
    options = parser.parse_args()
    options.run(options)


if __name__ == "__main__":
    main()
