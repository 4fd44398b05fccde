# --resume without anything to resume converts; parts are joined and end with the bytes of one conversion; the disk is
# looked at first.
ingot convert "$DATA/tiny-llama" -o whole.ingot --to ingot --shard-size 500KB --resume | tail -n 1
mkdir parts
for part in 3 1 2; do
  ingot convert "$DATA/tiny-llama" -o parts/whole.ingot --to ingot --shard-size 500KB --part $part/3 | tail -n 1
  if [[ $part == 1 ]]; then ingot join parts/whole.ingot 2>&1 || echo "exit $?"; fi
done
ls -A parts
ingot join parts/whole.ingot | tail -n 1
for file in parts/*; do cmp "$file" "$(basename "$file")"; done
ingot join parts/whole.ingot 2>&1 || echo "exit $?"
ingot convert "$DATA/tiny-llama" --to gguf --dry-run | grep -c '^Needs: '
ingot convert "$DATA/tiny-llama" --to gguf --dry-run --json | grep -oE '"(disk_bytes|peak_memory_bytes)"'
ingot convert "$DATA/tiny-llama" -o x.ingot --to ingot --part 4/3 2>&1 | head -n 1
