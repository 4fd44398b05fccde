# A checkpoint and what convert makes of it: diff has nothing to say, in whatever direction, and names what was changed.
for model in tiny-llama tiny-gpt2; do
  ingot convert "$DATA/$model" -o "$model.gguf" --to gguf > /dev/null
  ingot convert "$DATA/$model" -o "$model.ingot" --to ingot > /dev/null
  ingot diff "$DATA/$model" "$model.gguf"
  ingot diff "$model.gguf" "$model.ingot"
  ingot diff "$model.ingot" "$DATA/$model"
done
ingot edit tiny-llama.ingot --set general.type=adapter > /dev/null
ingot diff tiny-llama.gguf tiny-llama.ingot || echo "exit status $?"
# What stands in one of two configs and is the usual thing in the other is no difference; layers that slide come along.
cp -r "$DATA/tiny-llama" usual
python3 - <<'PYTHON'
import json
config = json.load(open("usual/config.json"))
for key in ("hidden_act", "dtype", "torch_dtype"): config.pop(key, None)
json.dump(config, open("usual/config.json", "w"))
PYTHON
ingot convert usual -o usual.gguf --to gguf > /dev/null
ingot diff usual usual.gguf && echo "exit $?"
ingot convert "$DATA/tiny-variants/qwen2" -o slides.gguf --to gguf > /dev/null
ingot diff "$DATA/tiny-variants/qwen2" slides.gguf && echo "exit $?"
mkdir -p usual/.git/objects
ingot diff usual usual.gguf
