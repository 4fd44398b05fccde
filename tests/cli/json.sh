# --json prints one document for every verb, also when the verb fails.
one() { python3 -c 'import json, sys; print(sorted(json.load(sys.stdin)))'; }
ingot convert "$DATA/tiny-llama" -o m.ingot --to ingot --json | one
ingot convert m.ingot --to gguf --dry-run --json | one
ingot inspect m.ingot --json | one
ingot inspect m.ingot --tensor model.norm.weight --json | one
ingot verify m.ingot --json | one
ingot verify m.ingot m.ingot --json | one
ingot diff m.ingot "$DATA/tiny-llama" --json | one
ingot edit m.ingot --set a=b --json | one
ingot compact m.ingot --json | one
ingot restore m.ingot -o out --json | one
ingot run m.ingot -p 'Once' -n 4 --json | one
set +e
ingot inspect absent --json | one
