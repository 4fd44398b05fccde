# --resume without anything to resume converts; parts are joined and end with the bytes of one conversion; the disk is
# looked at first.
ingot convert "$DATA/tiny-llama" -o whole.ingot --to ingot --shard-size 500KB --resume 2> note.txt | tail -n 1
cat note.txt
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
# The same of floats that are written as codes again.
ingot convert "$DATA/tiny-llama" -o coded --to gptq --scheme 4bit-g64 --allow requantize > report.txt
ingot convert coded -o floats --to hf --scheme f32 > report.txt
ingot convert floats -o recovered --to gptq --recover --shard-size 300KB > report.txt
for part in 2 1; do ingot convert floats -o parts/recovered --to gptq --recover --shard-size 300KB --part $part/2 > report.txt; done
ingot join parts/recovered | grep -c equal
diff -r recovered parts/recovered
# A part that is refused leaves nothing behind; a conversion of the whole does not throw parts away unasked.
ingot convert "$DATA/tiny-llama" -o parts/c.gguf --to gguf --part 1/2 | tail -n 1
ingot convert "$DATA/tiny-llama" -o parts/c.gguf --to gguf --part 2/3 2>&1 | grep -o 'begun by another conversion, or of another source: --part was 2, is 3'
ls -A parts/.c.gguf.partial
for option in --no-proof --resume; do
  ingot convert "$DATA/tiny-llama" -o parts/c.gguf --to gguf $option 2>&1 > report.txt || echo "exit $?"
done
ingot convert "$DATA/tiny-llama" -o parts/c.gguf --to gguf --part 2/2 | tail -n 1
ingot join parts/c.gguf | grep -c equal
ingot convert "$DATA/tiny-llama" -o parts/d.gguf --to gguf --part 1/2 | tail -n 1
ingot convert "$DATA/tiny-llama" -o parts/d.gguf --to gguf --force | tail -n 1
ls -A parts | grep 'd[.-]'
# What --resume refuses is not recommended; when a source was changed is readable.
cp -r "$DATA/tiny-llama" changing
touch -d '2019-02-03 04:05:06 UTC' changing/config.json
touch cut-00001-of-00005.ingot  # in the way
ingot convert changing -o cut.ingot --to ingot --shard-size 500KB 2>&1 > /dev/null | tail -n 2
touch -d '2020-02-03 04:05:06.07 UTC' changing/config.json
ingot convert changing -o cut.ingot --to ingot --shard-size 500KB --resume 2>&1 > /dev/null |
  grep -oE 'What is .*|source file: config.json: time of change was "[0-9-]+ [0-9:.]+ UTC", is .*' || true
ingot convert changing -o cut.ingot --to ingot --part 1/2 --shard-size 500KB --dry-run | grep -o 'All 2 parts together. Needs'
# What was damaged or lost of a part is made again and named; the source must be there.
cp -r "$DATA/tiny-llama" source
mkdir mended
for part in 1 2; do ingot convert source -o mended/whole.ingot --to ingot --shard-size 500KB --part $part/2 > report.txt; done
printf 'XXXX' | dd of=mended/.whole.ingot.partial/files/whole-00002-of-00005.ingot bs=1 seek=200000 conv=notrunc 2> dd.txt
rm mended/.whole.ingot.partial/files/whole-00004-of-00005.ingot
mv source elsewhere
ingot join mended/whole.ingot 2>&1 | sed 's,.*/source:,source:,' || true
mv elsewhere source
ingot join mended/whole.ingot | grep '^Made again'
ingot verify mended/whole.ingot | head -n 1
# What was begun is named also where the source cannot be read any more.
rm changing/*.safetensors
ingot convert changing -o cut.ingot --to ingot 2>&1 > /dev/null | head -n 1
