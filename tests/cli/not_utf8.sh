# Names that are not UTF-8: what cannot be kept is named, readable; what need not be kept is no obstacle.
bad=$'na\xffme'
ingot convert "$DATA/tiny-llama" -o m.ingot --to ingot > /dev/null
ingot edit m.ingot --set "$bad=value" 2>&1 || echo "exit $?"
ingot edit m.ingot --set "general.author=$bad" 2>&1 || echo "exit $?"
ingot convert m.ingot -o "$bad.gguf" --to gguf | tail -n 1
ingot convert "$bad.gguf" -o from.ingot --to ingot 2>&1 > /dev/null || echo "exit $?"
ingot convert "$bad.gguf" -o back --to hf | tail -n 1
ingot verify back m.ingot | tail -n 1
ingot inspect "absent-$bad" 2>&1 || echo "exit $?"
