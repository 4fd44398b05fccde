# A sound model is good, a broken one bad and blamed by name, whatever the layout; the document says the same.
ingot check "$DATA/tiny-llama"
ingot convert "$DATA/tiny-llama" -o small.gguf --to gguf --scheme q4_0 --allow requantize > /dev/null
ingot check small.gguf --against "$DATA/tiny-llama" --json > small.json
python3 - <<'END'
import json
check = json.load(open("small.json"))
sample = check["sample"]
print(check["verdict"], len(sample["continuations"]), len(check["tensors"]), len(check["differences"]), sample["top1_agreement"] > 0.7,
      0 < sample["kl_divergence"] < 0.5, sample["short_context_perplexity"] > 2 * sample["perplexity"])
END
ingot convert "$DATA/tiny-llama" -o rough --to mlx --scheme 3bit-g64 --allow requantize > /dev/null
ingot check rough --against "$DATA/tiny-llama" --json > rough.json
python3 -c 'import json
for name in ("small", "rough"):
  check = json.load(open(name + ".json"))
  print(name, check["verdict"], *["lost" in f["text"] for f in check["findings"] if f["severity"] == "note" and "KL" in f["text"]])'
mkdir broken
cp -r "$DATA"/tiny-llama/*.json broken
python3 - "$DATA/tiny-llama/model.safetensors" <<'END'
import json, struct, sys
data = bytearray(open(sys.argv[1], "rb").read())
size = struct.unpack("<Q", data[:8])[0]
begin = json.loads(data[8 : 8 + size])["model.layers.1.mlp.up_proj.weight"]["data_offsets"][0]
data[8 + size + begin : 8 + size + begin + 2] = b"\xc0\x7f"
open("broken/model.safetensors", "wb").write(data)
END
ingot check broken --json > broken.json || echo "exit $?"
python3 -c 'import json; c = json.load(open("broken.json")); print(c["verdict"], *(f["text"] for f in c["findings"] if f["severity"] == "bad"), sep="\n")'
ingot check broken --against "$DATA/tiny-gpt2" > other.txt || echo "exit $?"
grep -c '^  bad' other.txt
ingot check 2>&1 || echo "exit $?"
