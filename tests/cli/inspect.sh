# The table of a checkpoint directory at 100 and at 80 columns, piped without a limit, and one tensor in full.
ln -s "$DATA/tiny-llama" tiny-llama
ingot inspect tiny-llama
COLUMNS=80 ingot inspect tiny-llama | sed -n '/^TENSOR/,$p'
env -u COLUMNS ingot inspect tiny-llama --all | grep -c '^model\.'
ingot inspect tiny-llama --tensor model.layers.1.self_attn.k_proj.weight | grep -E '^(model| +(shape|scheme|packing|size)|PLANE|codes)'
ingot inspect tiny-llama --json | python3 -c '
import json, sys
model = json.load(sys.stdin)
print(model["layout"], model["model"]["architecture"], len(model["tensors"]), sum(t["bytes"] for t in model["tensors"]))'
if ingot inspect tiny-llama --tensor no.such.tensor; then exit 1; fi
