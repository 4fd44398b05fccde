# With --json what the command line gets wrong is a document too, with the same exit code and the same lines for people.
for words in 'frobnicate --json' 'convert --json' 'run model --json --top-p nan' 'inspect --json' \
  'verify a b c --json' 'convert model -o x --to hf --json --shard-size 2XB'; do
  code=0
  ingot $words > out.json 2> err.txt || code=$?
  python3 -c 'import json; error = json.load(open("out.json"))["error"]; print(error["kind"], error["message"], sep=": ")'
  echo "$code $(head -n 1 err.txt)"
done
code=0
ingot inspect > out.json 2> /dev/null || code=$?
echo "$code $(wc -c < out.json)"
