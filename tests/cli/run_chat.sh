# A chat: prompt and greedy tokens are those of transformers (apply_chat_template, then 64 greedy tokens).
ingot run "$DATA/tiny-llama" --chat --system 'You tell short stories.' -p 'Tell me a story about Lily.' -n 64 --ignore-end --json > chat.json
python3 - "$DATA/tiny-llama/expected.json" <<'END'
import json, sys
case = next(c for c in json.load(open(sys.argv[1]))["generation"] if c["logits"] == "chat")
got = json.load(open("chat.json"))
print("prompt", got["prompt_tokens"] == len(case["prompt_ids"]), "tokens", got["tokens"] == case["greedy_ids"])
END
