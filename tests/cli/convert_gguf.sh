# Checkpoint -> GGUF -> .ingot -> the same GGUF bytes; GGUF -> checkpoint with the same values; sharded output.
ingot convert "$DATA/tiny-llama" -o tiny.gguf --to gguf
ingot convert tiny.gguf -o tiny.ingot --to ingot > /dev/null
ingot restore tiny.ingot -o restored
cmp tiny.gguf restored/tiny.gguf
ingot convert tiny.gguf -o checkpoint --to hf > /dev/null
ingot verify "$DATA/tiny-llama" tiny.gguf
ingot verify "$DATA/tiny-llama" checkpoint
ingot convert tiny.gguf -o sharded --to hf --shard-size 500KB > /dev/null
ls sharded | grep -c safetensors
ingot verify sharded tiny.gguf
ls -A
