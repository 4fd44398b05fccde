#!/usr/bin/env python3
"""Files of torch.save and of PEFT, with the values that torch reads from them.

types.pt             every element type, views (transposed, permuted, with an offset, with gaps, repeated), shared storages, Parameters,
                     a tensor with attributes, a scalar, an empty tensor; ZIP archive
types_protocol4.pt   the same with pickle protocol 4
types_legacy.pt      the same as the stream of pickles of PyTorch 1.5 and before (without the types that stream cannot hold)
types_legacy_protocol4.pt, types_legacy_protocol5.pt: that stream with later protocols, which pickle.dump frames
nested.pt            a training checkpoint: {"state_dict": ..., "epoch": 3, "optimizer": {...}}
modules.pt           {"layers.0.q": {"weight": ...}, ...}
sharded/             LlamaForCausalLM in BF16 with a tied head as pytorch_model-0000x-of-00002.bin and an index
gptq_bin/            ../gptq/sym_v1 as one pytorch_model.bin
lora/, dora_bin/     adapters of PEFT for that Llama: rank and alpha by module, rank-stabilized; DoRA in adapter_model.bin
<name>.expected.safetensors: what torch.load gives, dense
hostile/<kind>__<what>.pt: the name says the kind of error that reading must end with

Run: python3 make.py        (torch 2.13, transformers 5.23, peft 0.21)
"""
import collections
import io
import json
import os
import pathlib
import pickle
import shutil
import struct
import zipfile

import torch
from safetensors.torch import load_file, save_file

HERE = pathlib.Path(__file__).parent
torch.manual_seed(11)
STREAM_TYPES = (torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8,
                torch.bool, torch.complex64)
NEW_TYPES = (torch.uint16, torch.uint32, torch.uint64, torch.float8_e4m3fn, torch.float8_e5m2, torch.float8_e4m3fnuz, torch.float8_e5m2fnuz)


def fresh(name):
    folder = HERE / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    return folder


def save_expected(state, name):
    save_file({k: v.detach().contiguous().clone() for k, v in state.items()}, HERE / f"{name}.expected.safetensors")


def of_type(dtype):
    if dtype == torch.bool:
        return torch.arange(12).reshape(3, 4) % 3 == 0
    if dtype.is_floating_point or dtype.is_complex:
        return torch.randn(3, 4).to(dtype)
    return torch.randint(0, 100, (3, 4)).to(dtype)


def all_types(types):
    state = collections.OrderedDict((f"type.{str(t).removeprefix('torch.')}", of_type(t)) for t in types)
    base = torch.randn(6, 10)
    state["view.whole"] = base
    state["view.transposed"] = torch.randn(5, 7).t()
    state["view.permuted"] = torch.randn(2, 3, 4).permute(2, 0, 1)
    state["view.transposed_3d"] = torch.randn(2, 3, 4).transpose(1, 2)
    state["view.rows"] = base[2:5]
    state["view.columns"] = base[:, 3:7]
    state["view.every_second"] = torch.randn(9, 8)[::2, ::3]
    state["view.repeated"] = torch.randn(1, 4).expand(3, 4)
    state["view.narrow"] = torch.randn(4000)[1500:1503]
    state["shared.a"] = torch.randn(4, 4)
    state["shared.b"] = state["shared.a"]
    state["shared.reshaped"] = state["shared.a"].view(16)
    state["parameter"] = torch.nn.Parameter(torch.randn(2, 3))
    with_attribute = torch.randn(3)
    with_attribute.note = "kept by torch"
    state["with_attribute"] = with_attribute
    state["scalar"] = torch.tensor(2.5)
    state["empty"] = torch.zeros(0, 3)
    state._metadata = collections.OrderedDict({"": {"version": 1}})
    return state


def make_types():
    state = all_types(STREAM_TYPES + NEW_TYPES)
    torch.save(state, HERE / "types.pt")
    torch.save(state, HERE / "types_protocol4.pt", pickle_protocol=4)
    save_expected(state, "types")
    legacy = all_types(STREAM_TYPES)
    torch.save(legacy, HERE / "types_legacy.pt", _use_new_zipfile_serialization=False)
    for protocol in (4, 5):
        torch.save(legacy, HERE / f"types_legacy_protocol{protocol}.pt", _use_new_zipfile_serialization=False, pickle_protocol=protocol)
    save_expected(legacy, "types_legacy")


def make_nested():
    layer = torch.nn.Linear(4, 3)
    optimizer = torch.optim.Adam(layer.parameters())
    layer(torch.randn(2, 4)).sum().backward()
    optimizer.step()
    torch.save({"epoch": 3, "state_dict": layer.state_dict(), "optimizer": optimizer.state_dict()}, HERE / "nested.pt")
    save_expected(layer.state_dict(), "nested")
    modules = {"layers.0.q": torch.nn.Linear(3, 2).state_dict(), "layers.0.norm": torch.nn.LayerNorm(3).state_dict()}
    torch.save(modules, HERE / "modules.pt")
    save_expected({f"{m}.{k}": v for m, state in modules.items() for k, v in state.items()}, "modules")


def tiny_llama():
    from transformers import LlamaConfig, LlamaForCausalLM
    config = LlamaConfig(hidden_size=16, intermediate_size=40, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, vocab_size=48,
                         max_position_embeddings=64, tie_word_embeddings=True, bos_token_id=1, eos_token_id=2, dtype="bfloat16")
    return LlamaForCausalLM(config).to(torch.bfloat16)


def make_sharded(model):
    folder = fresh("sharded")
    model.config.save_pretrained(folder)
    state = model.state_dict()
    shards = [{}, {}]
    for i, (name, tensor) in enumerate(state.items()):
        shards[i > len(state) // 2 and name != "lm_head.weight"][name] = tensor
    names = [f"pytorch_model-{i + 1:05d}-of-00002.bin" for i in range(2)]
    for name, shard in zip(names, shards):
        torch.save(shard, folder / name)
    weight_map = {key: name for name, shard in zip(names, shards) for key in shard}
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}, indent=1))
    torch.save({"learning_rate": 0.1}, folder / "training_args.bin")
    save_expected(state, "sharded")


def make_gptq():
    folder = fresh("gptq_bin")
    for file in (HERE.parent / "gptq/sym_v1").glob("*.json"):
        shutil.copy(file, folder)
    torch.save(load_file(HERE.parent / "gptq/sym_v1/model.safetensors"), folder / "pytorch_model.bin")


def make_adapters(model):
    import peft
    common = dict(task_type="CAUSAL_LM", init_lora_weights=False, lora_dropout=0.0)
    recipes = {"lora": (dict(r=4, lora_alpha=8, use_rslora=True, target_modules=["q_proj", "v_proj", "down_proj"],
                             rank_pattern={"down_proj": 2}, alpha_pattern={"v_proj": 16}), True),
               "dora_bin": (dict(r=2, lora_alpha=4, use_dora=True, target_modules="all-linear", bias="none", modules_to_save=["norm"]), False)}
    for name, (arguments, safe) in recipes.items():
        folder = fresh(name)
        model = tiny_llama()
        model.config.name_or_path = model.name_or_path = "tiny/llama"
        adapted = peft.get_peft_model(model, peft.LoraConfig(base_model_name_or_path="tiny/llama", **arguments, **common))
        adapted.save_pretrained(folder, safe_serialization=safe)
        (folder / "README.md").unlink(missing_ok=True)
        state = peft.get_peft_model_state_dict(adapted)
        save_expected(state, name)


def archive(pickled, prefix="a/", compression=zipfile.ZIP_STORED, extra=()):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as file:
        file.writestr(prefix + "data.pkl", pickled)
        for name, content in extra:
            file.writestr(prefix + name, content)
    return buffer.getvalue()


class Call:
    """Pickles as a call of `function`."""

    def __init__(self, function, *arguments):
        self.made = function, arguments

    def __reduce__(self):
        return self.made


def text(value):
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def rebuild(storage=b"X\x01\0\0\x000", offset=0, shape=(2,), strides=(1,), elements=2, kind=b"ctorch\nFloatStorage\n"):
    """{"w": tensor}, by hand, so that every number can lie."""
    number = lambda n: b"\x8a\x08" + struct.pack("<q", n)
    several = lambda numbers: b"(" + b"".join(map(number, numbers)) + b"t"
    return (b"\x80\x02}" + text("w") + b"ctorch._utils\n_rebuild_tensor_v2\n((" + text("storage") + kind + storage + text("cpu") +
            number(elements) + b"tQ" + number(offset) + several(shape) + several(strides) + b"\x89ccollections\nOrderedDict\n)RtRs.")


def make_hostile():
    folder = fresh("hostile")
    write = lambda name, content: (folder / f"{name}.pt").write_bytes(content)
    two = [("data/0", struct.pack("<2f", 1, 2))]
    system = pickle.dumps(Call(os.system, "touch executed"), protocol=2)
    write("unsupported__os_system", archive(system))
    write("unsupported__os_system_bare", system)
    write("unsupported__eval_protocol4", archive(pickle.dumps({"w": Call(eval, "1")}, protocol=4)))
    write("unsupported__load_from_bytes", archive(b"\x80\x02ctorch.storage\n_load_from_bytes\nU\x01x\x85R."))
    write("unsupported__protocol0", archive(pickle.dumps({"w": Call(os.system, "x")}, protocol=0)))
    write("unsupported__getattr", archive(b"\x80\x02c__builtin__\ngetattr\nctorch\nSize\nU\x07__new__\x86R."))
    write("unsupported__instance", archive(b"\x80\x02(U\x01xios\nsystem\n."))
    write("unsupported__build", archive(b"\x80\x02ctorch\nSize\n}b."))
    write("unsupported__compressed", archive(rebuild(), compression=zipfile.ZIP_DEFLATED, extra=two))
    write("unsupported__big_endian", archive(rebuild(), extra=[*two, ("byteorder", b"big")]))
    write("unsupported__torchscript", archive(rebuild(), extra=[*two, ("code/x.py", b"pass")]))
    write("unsupported__one_tensor", archive(rebuild().replace(b"}" + text("w"), b"").replace(b"RtRs.", b"RtR."), extra=two))
    write("unsupported__dtype_called", archive(b"\x80\x02ctorch\nfloat32\n)R."))
    write("invalid_value__call_of_a_number", archive(b"\x80\x02K\x01)R."))
    write("invalid_value__memo_never_stored", archive(b"\x80\x02h\x05."))
    write("limit_exceeded__memo_index", archive(b"\x80\x02}r\xff\xff\xff\xff."))
    write("invalid_value__empty_stack", archive(b"\x80\x02R."))
    write("invalid_value__no_mark", archive(b"\x80\x02t."))
    write("invalid_value__two_values", archive(b"\x80\x02NN."))
    write("invalid_value__odd_items", archive(b"\x80\x02}(Nu."))
    write("truncated__string_length", archive(b"\x80\x02X\xff\xff\xff\xffabc"))
    write("truncated__string_length_64", archive(b"\x80\x04\x8d" + b"\xff" * 8 + b"abc"))
    write("truncated__frame", archive(b"\x80\x04\x95" + b"\xff" * 8 + b"N."))
    write("truncated__no_stop", archive(b"\x80\x02N"))
    write("unsupported__deep_nesting", archive(b"\x80\x02" + b"]" * 50_000 + b"a" * 49_999 + b"."))
    write("unsupported__memo_bomb", archive(b"\x80\x02Nq\x000" + b"".join(b"h%c" % i * 3 + b"\x87q%c0" % (i + 1) for i in range(60)) + b"h\x3c."))
    write("unsupported__cyclic", archive(b"\x80\x02}q\0" + text("x") + b"h\0s."))
    doubling = (b"}q%c(" % (i + 1) + text("a") + b"h%c" % i + text("b") + b"h%c" % i + b"u0" for i in range(60))
    write("unsupported__doubling_dicts", archive(b"\x80\x02}q\x000" + b"".join(doubling) + b"h\x3c."))
    write("invalid_value__beyond_storage", archive(rebuild(shape=(3,)), extra=two))
    write("invalid_value__offset", archive(rebuild(offset=1), extra=two))
    write("invalid_value__negative_stride", archive(rebuild(strides=(-1,)), extra=two))
    write("limit_exceeded__shape", archive(rebuild(shape=(2**62, 4), strides=(0, 0)), extra=two))
    write("limit_exceeded__strides", archive(rebuild(shape=(2**50,), strides=(2**50,)), extra=two))
    write("limit_exceeded__repeated", archive(rebuild(shape=(2**40,), strides=(0,)), extra=two))
    write("limit_exceeded__rank", archive(rebuild(shape=(1,) * 9, strides=(1,) * 9), extra=two))
    write("invalid_value__strides_count", archive(rebuild(shape=(1, 2), strides=(1,)), extra=two))
    write("mismatch__storage_size", archive(rebuild(elements=3), extra=two))
    write("invalid_value__no_storage", archive(rebuild()))
    write("invalid_value__storage_class", archive(rebuild(kind=b"ctorch\nfloat32\n"), extra=two))
    write("unsupported__no_pickle", archive(b"x").replace(b"data.pkl", b"data.xyz"))
    whole = archive(rebuild(), extra=two)
    write("truncated__archive", whole[:-30])
    write("truncated__extra_byte", whole + b"x")
    write("invalid_value__directory_count", whole[:-12] + b"\xff\xff" + whole[-10:])
    at = whole.rindex(b"PK\1\2") + 42
    write("invalid_value__overlapping_entries", whole[:at] + b"\0\0\0\0" + whole[at + 4:])
    buffer = io.BytesIO()
    torch.save({"w": torch.ones(2)}, buffer, _use_new_zipfile_serialization=False)
    stream = buffer.getvalue()
    write("invalid_value__stream_extra_byte", stream + b"x")
    write("truncated__stream", stream[:-1])
    write("truncated__stream_storage_length", stream[:-16] + b"\xff" * 7 + b"\x0f" + stream[-8:])
    write("unsupported__stream_big_endian", stream.replace(b"little_endianq\x02\x88", b"little_endianq\x02\x89"))
    several = {"a": {"w": torch.ones(2)}, "b": {"w": torch.ones(2)}}
    torch.save(several, folder / "unsupported__several_states.pt")
    torch.save({"model": {"w": torch.ones(2, dtype=torch.complex128)}}, folder / "unsupported__complex128.pt")
    torch.save({"epoch": 3, "note": "x"}, folder / "unsupported__no_tensors.pt")
    torch.save({"w": torch.eye(3).to_sparse()}, folder / "unsupported__sparse.pt")
    torch.save({"w": torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8)}, folder / "unsupported__qint8.pt")


def main():
    make_types()
    make_nested()
    model = tiny_llama()
    make_sharded(model)
    make_gptq()
    make_adapters(model)
    make_hostile()


if __name__ == "__main__":
    main()
