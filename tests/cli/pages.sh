# Completion and manual page come from the same description as --help.
ingot completion bash > completion.bash
bash -n completion.bash
source completion.bash
complete_words() { COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _ingot; echo "${COMPREPLY[*]}"; }
complete_words ingot co
complete_words ingot convert m.ingot --to ''
complete_words ingot convert m.ingot --al
complete_words ingot convert --allow ''
touch 'a file.ingot'
complete_words ingot inspect a
ingot completion zsh > _ingot
head -n 1 _ingot
if command -v zsh > /dev/null; then zsh -n _ingot; fi
ingot man > ingot.1
head -n 1 ingot.1
for verb in inspect verify diff check convert join restore run edit compact; do grep -q "^.SS ingot $verb\$" ingot.1; done
if command -v groff > /dev/null; then groff -man -Tutf8 -ww -z ingot.1; fi
if ingot --help | grep -Eq '^  (man|completion)'; then exit 1; fi
