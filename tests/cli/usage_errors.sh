# What the command line itself gets wrong is exit code 2, with a hint; what the input gets wrong is 1.
code() { local got=0; "$@" >/dev/null 2>message || got=$?; echo "$got $(head -n 1 message | sed "s,$DATA,DATA,g")"; }
code ingot
code ingot frobnicate
code ingot --bar inspect x
code ingot run "$DATA/tiny-llama" -p text --stop ''
code ingot inspect ''
code ingot verify "$DATA/tiny-llama" ''
code ingot convert "$DATA/tiny-llama" -o '' --to ingot
code ingot eval "$DATA/tiny-llama" --text ''
code ingot convert "$DATA/tiny-llama" -o x --to ingot --part 1/99999999999
code ingot convert
code ingot convert "$DATA/tiny-llama" --to ingot
code ingot convert "$DATA/tiny-llama" -o x --to gptq9000
code ingot convert "$DATA/tiny-llama" -o x --to hf --allow anything
code ingot convert "$DATA/tiny-llama" -o x --to hf --shard-size 2XB
code ingot convert "$DATA/tiny-llama" -o x --to hf --threads 0
code ingot inspect
code ingot verify a b c
code ingot edit file.ingot
code ingot edit file.ingot --set novalue
code ingot run "$DATA/tiny-llama" --system text -p text
code ingot convert "$DATA/tiny-llama" -o x --to gptq --scheme 4bit-g64 --allow requantize --quantize embed
for scheme in 4bit-g64-sym-asym 4bit-g0 4bit-row-g32 q9_9 4bit-g 9bit; do
  code ingot convert "$DATA/tiny-llama" -o x --to gptq --scheme $scheme --allow requantize
done
code ingot convert "$DATA/tiny-llama" -o x --to gguf --scheme q9_9
code ingot convert "$DATA/tiny-llama" -o x --to ingot --scheme q8_0
code ingot convert "$DATA/tiny-llama" -o x --to mlx --scheme 4bit-g48 --allow requantize
code ingot convert "$DATA/tiny-llama" -o x --to gptq --scheme 4bit-g64 --set group_size=32 --allow requantize
code ingot convert "$DATA/tiny-llama" -o x --to gptq --set unknown=1
code ingot convert "$DATA/tiny-llama" -o x --to gptq --keep '(' --allow requantize
cp -r "$DATA/../golden/foreign/torch/lora" lora
code ingot convert lora -o x --to gguf
rm -r lora
code ingot convert "$DATA/tiny-llama" -o y.gguf --to gguf --keep no_such --quantize 'no_such|norm' --dry-run
# Patterns whose search would take years if it tried one way after the other.
for pattern in '(x*)*Z' '((.*)*)*(.*.*)*Z'; do
  code timeout 60 ingot convert "$DATA/tiny-llama" -o y.gguf --to gguf --keep "$pattern" --dry-run
done
code ingot convert "$DATA/tiny-llama" -o y.gguf --to gguf --keep '(.)\1' --dry-run
code ingot convert "$DATA/tiny-llama" -o y.gguf --to gguf --drop '((.{0,30}){0,30}){0,20}Z' --dry-run
code ingot convert "$DATA/tiny-llama" -o y.gguf --to gguf --keep '(?=.*(a|(?!b)))' --dry-run
code ingot convert "$DATA/tiny-llama" -o y.gguf --to gguf --keep '(?=[(]?)(?!b)[)(?=.]' --dry-run
code ingot convert "$DATA/tiny-llama" -o x --to gptq --scheme ''
code ingot convert "$DATA/tiny-llama" -o x.gguf --to gguf --compress
code ingot convert "$DATA/tiny-llama" -o x.gguf --to gguf --delete-source-as-read
code ingot inspect "$DATA/tiny-llama" --tensor ''
code ingot inspect "$DATA/tiny-llama" --tensor blk.0.ffn_down.weight
code sh -c 'ingot --help > /dev/full'
code ingot inspect absent
code ingot verify absent
code ingot restore absent -o out
code ingot restore "$DATA/../cli" -o out
echo '{}' > config.json
code ingot inspect config.json
ls
