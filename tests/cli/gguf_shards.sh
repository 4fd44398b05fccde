# What convert names exists; a set with a missing member, named as it was asked for; a set is not replaced by what is
# made of it.
ingot convert "$DATA/tiny-llama" -o split.gguf --to gguf --shard-size 800KB > report.txt
tail -n 1 report.txt
ls split*
ingot convert "$DATA/tiny-llama" -o dir/ --to hf --shard-size 800KB | tail -n 1
ingot convert "$DATA/tiny-llama" -o set.ingot --to ingot --shard-size 800KB --json > report.json
python3 -c 'import json; print(json.load(open("report.json"))["files"])'
sha256sum split* set* > before.txt
refuse() { ingot convert "$@" --force 2>&1 > /dev/null || echo "exit $?"; }
refuse set.ingot -o set-00002-of-00003.ingot --to ingot
refuse split-00001-of-00003.gguf -o split-00003-of-00003.gguf --to gguf
refuse split-00001-of-00003.gguf -o split.gguf --to gguf --shard-size 500KB
refuse dir -o dir/model-00001-of-00003.safetensors --to gguf
sha256sum --quiet -c before.txt
rm split-00002-of-00003.gguf
ingot inspect split-00001-of-00003.gguf 2>&1 || echo "exit $?"
mkdir below
mv split-00003-of-00003.gguf below/
ingot inspect below/split-00003-of-00003.gguf 2>&1 || echo "exit $?"
