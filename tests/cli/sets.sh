# A model in several files: written by size, opened by its manifest by every verb, restored byte for byte, the damage named.
ingot convert "$DATA/tiny-llama" -o tiny.ingot --to ingot > /dev/null
ingot convert "$DATA/tiny-llama" -o set.ingot --to ingot --shard-size 800KB > /dev/null
ls -A
for file in set*.ingot; do [[ $(stat -c %s $file) -le 800000 ]]; done
ingot verify set.ingot --values | grep -v checked
for file in set-*; do ingot verify $file --values | head -n 1; done
ingot verify set.ingot tiny.ingot
ingot diff set.ingot "$DATA/tiny-llama"
ingot inspect set.ingot | grep -E '^ +set '
ingot inspect set.ingot --json > set.json
ingot inspect tiny.ingot --json > tiny.json
python3 - <<'PYTHON'
import json
whole, one = json.load(open("set.json")), json.load(open("tiny.json"))
assert whole["fingerprint"] == one["fingerprint"] and whole["tensors"] == one["tensors"]
print([m["tensors"] for m in whole["file"]["members"]])
PYTHON
ingot restore set.ingot -o restored > /dev/null
diff -r "$DATA/tiny-llama" restored
ingot run set.ingot -p 'Once upon a time' -n 30 2> /dev/null > set.txt
ingot run tiny.ingot -p 'Once upon a time' -n 30 2> /dev/null | cmp - set.txt
ingot convert set.ingot -o joined.ingot --to ingot > /dev/null
cmp joined.ingot tiny.ingot
mkdir compressed
ingot convert joined.ingot -o compressed/set.ingot --to ingot --shard-size 800KB --compress > /dev/null
ingot verify compressed/set.ingot set.ingot > /dev/null
ingot restore compressed/set.ingot -o restored --force > /dev/null
diff -r "$DATA/tiny-llama" restored
ls compressed
# Metadata are those of the manifest; an edited member no longer fits it until the edit is taken back.
cp -r . ../copy
ingot edit set.ingot --set note=manifest > /dev/null
ingot verify set.ingot > /dev/null
ingot compact set.ingot > /dev/null
ingot inspect set.ingot | grep -E '^ +note'
if ingot compact set.ingot -o compressed/other.ingot; then exit 1; fi
for file in set-*; do cmp $file ../copy/$file; done
ingot edit set-00002-of-00003.ingot --set note=member > /dev/null
if ingot inspect set.ingot 2> why.txt; then exit 1; fi
grep -c 'member "set-00002-of-00003.ingot": not the file .* (expected root [0-9a-f]*, got [0-9a-f]*); .*ingot edit' why.txt
ingot edit set-00002-of-00003.ingot --unset note > /dev/null
ingot compact set-00002-of-00003.ingot > /dev/null
ingot verify set.ingot > /dev/null
# What is there is not overwritten; --force replaces it; a missing member and damage are named.
if ingot convert tiny.ingot -o set.ingot --to ingot --shard-size 800KB > /dev/null; then exit 1; fi
rm set.ingot
if ingot convert tiny.ingot -o set.ingot --to ingot --shard-size 800KB > /dev/null 2> why.txt; then exit 1; fi
grep -o 'set-00001-of-00003.ingot: exists already' why.txt
[[ ! -e set.ingot ]]
ingot convert tiny.ingot -o set.ingot --to ingot --shard-size 800KB --force > /dev/null
cmp set.ingot ../copy/set.ingot
printf X | dd of=set-00003-of-00003.ingot bs=1 seek=5000 conv=notrunc 2> /dev/null
if ingot verify set.ingot > damage.txt; then exit 1; fi
grep -o 'bad_checksum at byte 4096: set-00003-of-00003.ingot' damage.txt
rm set-00003-of-00003.ingot
if ingot restore set.ingot -o again; then exit 1; fi
[[ ! -e again ]]
