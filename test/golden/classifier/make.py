"""Writes what transformers' LlamaForSequenceClassification and peft's SEQ_CLS adapters compute on a small random Llama.
usage: make.py  (torch 2.15, transformers 4.56.2, peft 0.17.1); the base is ../models/llama-gqa/model"""
import os
import torch
from safetensors.torch import save_file
from transformers import LlamaForSequenceClassification
from peft import LoraConfig, MissConfig, get_peft_model

HERE = os.path.dirname(os.path.abspath(__file__))
BASE = os.path.join(HERE, "../models/llama-gqa/model")
torch.set_num_threads(1)
B, T, V, LENGTHS = 4, 11, 128, [11, 7, 9, 1]
CASES = {
    "lora": (3, lambda: LoraConfig(task_type="SEQ_CLS", r=4, lora_alpha=8, target_modules="all-linear")),
    "miss_regression": (1, lambda: MissConfig(task_type="SEQ_CLS", r=16, target_modules=["q_proj", "down_proj"])),
}


def batch(labels):
    g = torch.Generator().manual_seed(5)
    ids = torch.randint(3, V, (B, T), generator=g)
    mask = torch.zeros(B, T, dtype=torch.long)
    for row, length in enumerate(LENGTHS):
        ids[row, length:] = 0  # the pad token, which tells transformers where a row ends
        mask[row, :length] = 1
    targets = torch.tensor([3.8, 0.0, 2.25, 5.0]) if labels == 1 else torch.tensor([2, 0, 1, 2])
    return ids, mask, targets


for name, (labels, config) in CASES.items():
    torch.manual_seed(3)
    base = LlamaForSequenceClassification.from_pretrained(BASE, num_labels=labels, dtype=torch.float32)
    base.config._name_or_path = ""  # of no meaning elsewhere
    base.name_or_path = ""
    model = get_peft_model(base, config())
    model.eval()  # no dropout anywhere: eval and train agree
    g = torch.Generator().manual_seed(9)
    with torch.no_grad():
        for parameter_name, parameter in sorted(model.named_parameters()):
            if parameter.requires_grad:
                parameter.add_(0.05 * torch.randn(parameter.shape, generator=g))
    ids, mask, targets = batch(labels)
    out = model(input_ids=ids, attention_mask=mask, labels=targets)
    out.loss.backward()
    expected = dict(input_ids=ids, attention_mask=mask, targets=targets, logits=out.logits.detach(),
                    loss=out.loss.detach().reshape(1))
    for parameter_name, parameter in model.named_parameters():
        if parameter.requires_grad:
            expected["grad." + parameter_name] = parameter.grad
    folder = os.path.join(HERE, name)
    model.save_pretrained(folder)
    os.remove(os.path.join(folder, "README.md"))
    save_file({k: v.contiguous() for k, v in expected.items()}, os.path.join(folder, "expected.safetensors"))
    print(name, float(out.loss), sorted(expected)[:6])
