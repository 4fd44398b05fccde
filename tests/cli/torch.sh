# PyTorch files and adapters: named for what they are, converted, equal to themselves; a pickle that asks for more is
# refused with the reason.
torch="$DATA/../golden/foreign/torch"
ingot convert "$torch/sharded" -o sharded.ingot --to ingot > /dev/null
ingot verify "$torch/sharded" sharded.ingot
ingot convert "$torch/sharded" -o sharded --to hf > /dev/null
ingot verify sharded sharded.ingot
ls sharded
ingot restore sharded.ingot -o back > /dev/null
diff -r "$torch/sharded" back && echo "the same files"
ingot convert "$torch/lora" -o lora.ingot --to ingot > /dev/null
ingot inspect lora.ingot | grep "^  adapter  "
ingot run lora.ingot -p x 2>&1 || echo "exit status $?"
ingot convert lora.ingot -o lora --to hf 2>&1 || echo "exit status $?"
for refused in unsupported__os_system unsupported__several_states; do
  cp "$torch/hostile/$refused.pt" "$refused.pt"
  ingot inspect "$refused.pt" 2>&1 || echo "exit status $?"
done
ls executed 2> /dev/null || echo "nothing was executed"
ingot inspect "$torch/nested.pt" | sed -n "/Findings/,/^$/p"
ingot inspect "$torch/nested.pt" --json | grep -A2 findings
