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
