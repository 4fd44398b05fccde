# Metadata changes in place; the values stay; compact gives the space back.
ingot convert "$DATA/tiny-llama" -o m.ingot --to ingot > /dev/null
size=$(stat -c %s m.ingot)
ingot edit m.ingot --set general.name='Tiny Llama' --set note=first
ingot edit m.ingot --unset note --json | python3 -c 'import json, sys; print(json.load(sys.stdin)["generation"])'
if ingot edit m.ingot --unset note; then exit 1; fi
ingot inspect m.ingot | grep -E '^ +(name|note)'
ingot verify m.ingot --values > /dev/null
ingot verify m.ingot "$DATA/tiny-llama"
ingot compact m.ingot -o c.ingot > /dev/null
cp m.ingot before.ingot
ingot compact m.ingot > /dev/null
cmp m.ingot c.ingot
[[ $(stat -c %s m.ingot) -lt $((size + 1000)) ]]
ingot inspect m.ingot | grep -E '^ +name'
ingot restore m.ingot -o restored > /dev/null
diff -r "$DATA/tiny-llama" restored
