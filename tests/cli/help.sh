# Every verb explains itself with examples, and nothing is wider than 100 columns.
ingot --help
ingot --version | grep -Eq '^ingot [0-9]+\.[0-9]+\.[0-9]+$'
for verb in inspect verify diff check convert join restore run tokenize edit compact; do
  ingot $verb --help > help.txt
  grep -q "^ingot $verb - " help.txt
  grep -q '^Usage: ingot ' help.txt
  grep -q '^Examples:$' help.txt
  grep -q -- '--json' help.txt
  if grep -nE '^.{101}' help.txt; then exit 1; fi
done
