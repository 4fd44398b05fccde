#!/usr/bin/env python3
"""Chat templates in the style of the common families and what transformers renders with them (needs transformers, tokenizers).

    python make.py

Writes expected.json: template, special tokens, messages, add_generation_prompt, and the text or the fact that the template refuses.
"""
import json
from pathlib import Path

from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast

HERE = Path(__file__).resolve().parent
S, U, A = (lambda text: {"role": "system", "content": text}), (lambda text: {"role": "user", "content": text}), (
    lambda text: {"role": "assistant", "content": text})
DIALOGS = {
    "user": [U("Hi")],
    "dialog": [U(" Hi  \n"), A("Yo"), U("Bye\n\nnow")],
    "system": [S("Be brief. "), U("Hi"), A(" Yo "), U("Bye")],
    "wrong order": [A("Yo"), U("Hi")],
    "two users": [U("a"), U("b")],
    "odd role": [{"role": "tool", "content": "x"}],
    "think": [U("Hi"), A("<think>\nhm\n</think>\n\nYo"), U("Bye")],
}
TEMPLATES = {
    "chatml": "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}"
              "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}",
    "smollm2": "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system\nYou are a tiny helper"
               "<|im_end|>\n' }}{% endif %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}"
               "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}",
    "zephyr": "{% for message in messages %}\n{% if message['role'] == 'user' %}\n{{ '<|user|>\n' + message['content'] + eos_token }}\n"
              "{% elif message['role'] == 'system' %}\n{{ '<|system|>\n' + message['content'] + eos_token }}\n"
              "{% elif message['role'] == 'assistant' %}\n{{ '<|assistant|>\n'  + message['content'] + eos_token }}\n{% endif %}\n"
              "{% if loop.last and add_generation_prompt %}\n{{ '<|assistant|>' }}\n{% endif %}\n{% endfor %}",
    "llama2": "{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}{% set system_message = messages[0]['content'] %}"
              "{% else %}{% set loop_messages = messages %}{% set system_message = false %}{% endif %}{% for message in loop_messages %}"
              "{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('Roles must alternate') }}{% endif %}"
              "{% if loop.index0 == 0 and system_message != false %}{% set content = '<<SYS>>\\n' + system_message + '\\n<</SYS>>\\n\\n' + message['content'] %}"
              "{% else %}{% set content = message['content'] %}{% endif %}{% if message['role'] == 'user' %}"
              "{{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}{% elif message['role'] == 'assistant' %}"
              "{{ ' '  + content.strip() + ' ' + eos_token }}{% endif %}{% endfor %}",
    "llama3": "{% set loop_messages = messages %}{% for message in loop_messages %}{% set content = '<|start_header_id|>' + message['role'] + "
              "'<|end_header_id|>\n\n'+ message['content'] | trim + '<|eot_id|>' %}{% if loop.index0 == 0 %}{% set content = bos_token + content %}"
              "{% endif %}{{ content }}{% endfor %}{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}",
    "llama31": "{{- bos_token }}\n{%- if not date_string is defined %}\n    {%- set date_string = \"26 Jul 2024\" %}\n{%- endif %}\n"
               "{#- A comment with {{ braces }} #}\n{%- if messages and messages[0]['role'] == 'system' %}\n    {%- set system_message = messages[0]['content']|trim %}\n"
               "    {%- set messages = messages[1:] %}\n{%- else %}\n    {%- set system_message = \"\" %}\n{%- endif %}\n"
               "{{- \"<|start_header_id|>system<|end_header_id|>\\n\\n\" }}\n{%- if tools is not none %}\n    {{- \"Environment: ipython\\n\" }}\n{%- endif %}\n"
               "{{- \"Today Date: \" + date_string + \"\\n\\n\" }}\n{{- system_message }}\n{{- \"<|eot_id|>\" }}\n{%- for message in messages %}\n"
               "    {%- if not (message.role == 'ipython' or message.role == 'tool' or 'tool_calls' in message) %}\n"
               "        {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n'+ message['content'] | trim + '<|eot_id|>' }}\n"
               "    {%- elif message.role == \"tool\" %}\n        {{- message.content | tojson }}\n    {%- endif %}\n{%- endfor %}\n"
               "{%- if add_generation_prompt %}\n    {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}\n{%- endif %}\n",
    "gemma": "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
             "{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('Roles must alternate') }}{% endif %}"
             "{% if (message['role'] == 'assistant') %}{% set role = 'model' %}{% else %}{% set role = message['role'] %}{% endif %}"
             "{{ '<start_of_turn>' + role + '\n' + message['content'] | trim + '<end_of_turn>\n' }}{% endfor %}"
             "{% if add_generation_prompt %}{{'<start_of_turn>model\n'}}{% endif %}",
    "gemma3": "{{ bos_token }}\n{%- if messages[0]['role'] == 'system' -%}\n    {%- if messages[0]['content'] is string -%}\n"
              "        {%- set first_user_prefix = messages[0]['content'] + '\n\n' -%}\n    {%- else -%}\n"
              "        {%- set first_user_prefix = messages[0]['content'][0]['text'] + '\n\n' -%}\n    {%- endif -%}\n"
              "    {%- set loop_messages = messages[1:] -%}\n{%- else -%}\n    {%- set first_user_prefix = \"\" -%}\n"
              "    {%- set loop_messages = messages -%}\n{%- endif -%}\n{%- for message in loop_messages -%}\n"
              "    {%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) -%}\n        {{ raise_exception(\"Roles must alternate\") }}\n    {%- endif -%}\n"
              "    {%- if (message['role'] == 'assistant') -%}\n        {%- set role = \"model\" -%}\n    {%- else -%}\n        {%- set role = message['role'] -%}\n    {%- endif -%}\n"
              "    {{ '<start_of_turn>' + role + '\n' + (first_user_prefix if loop.first else \"\") }}\n    {%- if message['content'] is string -%}\n"
              "        {{ message['content'] | trim }}\n    {%- elif message['content'] is iterable -%}\n        {%- for item in message['content'] -%}\n"
              "            {%- if item['type'] == 'text' -%}\n                {{ item['text'] | trim }}\n            {%- endif -%}\n        {%- endfor -%}\n    {%- endif -%}\n"
              "    {{ '<end_of_turn>\n' }}\n{%- endfor -%}\n{%- if add_generation_prompt -%}\n    {{'<start_of_turn>model\n'}}\n{%- endif -%}\n",
    "mistral": "{%- if messages and messages[0][\"role\"] == \"system\" %}\n    {%- set system_message = messages[0][\"content\"] %}\n"
               "    {%- set loop_messages = messages[1:] %}\n{%- else %}\n    {%- set loop_messages = messages %}\n{%- endif %}\n"
               "{%- set user_messages = loop_messages | selectattr(\"role\", \"equalto\", \"user\") | list %}\n{%- set ns = namespace(index=0) %}\n"
               "{%- for message in loop_messages %}\n    {%- if not (message.role == \"tool\" or (message.tool_calls is defined and message.tool_calls is not none)) %}\n"
               "        {%- if (message[\"role\"] == \"user\") != (ns.index % 2 == 0) %}\n            {{- raise_exception(\"must alternate\") }}\n        {%- endif %}\n"
               "        {%- set ns.index = ns.index + 1 %}\n    {%- endif %}\n{%- endfor %}\n{{- bos_token }}\n{%- for message in loop_messages %}\n"
               "    {%- if message[\"role\"] == \"user\" %}\n        {%- if loop.last and system_message is defined %}\n"
               "            {{- \"[INST]\" + system_message + \"\\n\\n\" + message[\"content\"] + \"[/INST]\" }}\n        {%- else %}\n"
               "            {{- \"[INST]\" + message[\"content\"] + \"[/INST]\" }}\n        {%- endif %}\n    {%- elif message[\"role\"] == \"assistant\" %}\n"
               "        {{- message[\"content\"] + eos_token}}\n    {%- else %}\n        {{- raise_exception(\"odd role\") }}\n    {%- endif %}\n{%- endfor %}\n",
    "phi3": "{% for message in messages %}{% if message['role'] == 'system' and message['content'] %}{{'<|system|>\n' + message['content'] + '<|end|>\n'}}"
            "{% elif message['role'] == 'user' %}{{'<|user|>\n' + message['content'] + '<|end|>\n'}}{% elif message['role'] == 'assistant' %}"
            "{{'<|assistant|>\n' + message['content'] + '<|end|>\n'}}{% endif %}{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>\n' }}"
            "{% else %}{{ eos_token }}{% endif %}",
    "qwen3": "{%- if messages[0].role == 'system' %}\n    {{- '<|im_start|>system\\n' + messages[0].content + '<|im_end|>\\n' }}\n{%- endif %}\n"
             "{%- set ns = namespace(multi_step_tool=true, last_query_index=messages|length - 1) %}\n{%- for message in messages[::-1] %}\n"
             "    {%- set index = (messages|length - 1) - loop.index0 %}\n    {%- if ns.multi_step_tool and message.role == \"user\" and "
             "not(message.content.startswith('<tool_response>') and message.content.endswith('</tool_response>')) %}\n"
             "        {%- set ns.multi_step_tool = false %}\n        {%- set ns.last_query_index = index %}\n    {%- endif %}\n{%- endfor %}\n"
             "{%- for message in messages %}\n    {%- if (message.role == \"user\") or (message.role == \"system\" and not loop.first) %}\n"
             "        {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' }}\n    {%- elif message.role == \"assistant\" %}\n"
             "        {%- set content = message.content %}\n        {%- set reasoning_content = '' %}\n"
             "        {%- if message.reasoning_content is defined and message.reasoning_content is not none %}\n"
             "            {%- set reasoning_content = message.reasoning_content %}\n        {%- else %}\n            {%- if '</think>' in message.content %}\n"
             "                {%- set content = message.content.split('</think>')[-1].lstrip('\\n') %}\n"
             "                {%- set reasoning_content = message.content.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') %}\n"
             "            {%- endif %}\n        {%- endif %}\n        {%- if loop.index0 > ns.last_query_index %}\n            {%- if loop.last or (not loop.last and reasoning_content) %}\n"
             "                {{- '<|im_start|>' + message.role + '\\n<think>\\n' + reasoning_content.strip('\\n') + '\\n</think>\\n\\n' + content.lstrip('\\n') }}\n"
             "            {%- else %}\n                {{- '<|im_start|>' + message.role + '\\n' + content }}\n            {%- endif %}\n        {%- else %}\n"
             "            {{- '<|im_start|>' + message.role + '\\n' + content }}\n        {%- endif %}\n        {{- '<|im_end|>\\n' }}\n    {%- endif %}\n{%- endfor %}\n"
             "{%- if add_generation_prompt %}\n    {{- '<|im_start|>assistant\\n' }}\n    {%- if enable_thinking is defined and enable_thinking is false %}\n"
             "        {{- '<think>\\n\\n</think>\\n\\n' }}\n    {%- endif %}\n{%- endif %}",
    "language": "{# every construct once #}{% set a, b = 1, 'x' %}{% set d = {'k': [1, 2.5, none, true], 'z': {'q': 'it\\'s'}} %}{{ d }} {{ d.k[-1] }} {{ d['z'].q }}\n"
                "  {% for k, v in d.items() %}{{ loop.index }}/{{ loop.length }}:{{ k }}={{ v | tojson }}{{ ', ' if not loop.last }}{% endfor %}\n"
                "{% for i in range(5) if i is odd %}{{ i }}{% else %}none{% endfor %} {% for i in [] %}x{% else %}nothing{% endfor %}\n"
                "{{ 7 // 2 }} {{ -7 // 2 }} {{ -7 % 3 }} {{ 7 / 2 }} {{ 2 * 3 + 1 }} {{ 1 ~ 'a' ~ none }} {{ 'ab' * 1 if false else 'no' }}\n"
                "{{ 'abcdef'[1:4] }} {{ 'abcdef'[::-1] }} {{ 'abcdef'[-2:] }} {{ [1,2,3][::2] }} {{ 'Hello World'.upper() | lower | title }} {{ ' x ' | trim }}|\n"
                "{{ 'a,b,c'.split(',') | join('-') }} {{ ['b','a'] | sort | first }} {{ missing | default('dflt') }} {{ missing is undefined }} {{ '' | default('e', true) }}\n"
                "{{ 1 < 2 and not 2 >= 3 or false }} {{ 'a' in 'cat' }} {{ 3 not in [1, 2] }} {{ 'x' if missing }} {{ (1, 2) | length }} {{ 'q' is string and 1 is number }}\n"
                "{% macro m(x, y='d') %}<{{ x }}:{{ y }}>{% endmacro %}{{ m(1) }}{{ m('a', y='b') }}\n"
                "{% set block %}inner {{ a + 1 }}{% endset %}{{ block | upper }}\n"
                "{%- set ns = namespace(n=0) -%}   {%- for i in range(10) -%}{%- if i == 2 %}{% continue %}{% endif -%}{%- if i == 5 %}{% break %}{% endif -%}"
                "{%- set ns.n = ns.n + i -%}{%- endfor %} {{ ns.n }} {{ messages | map(attribute='role') | join('+') }} {{ messages | selectattr('role', 'ne', 'user') | list | length }}\n"
                "{{ d | tojson(indent=2) }}\n    {% if true %}\n    indented\n    {% endif %}\ntail {{ 'x' }}\n\n",
    "python": "{# what templates borrow from Python #}{% set d = {0: 'z', 512: 'a', -1: 'm', none: 'n'} %}{{ d }} {{ d[512] }} {{ d[0.0] }} {{ d[7] is defined }} "
              "{{ 512 in d }} {{ '512' in d }} {{ d.get(-1) }} {{ d.get('512', 'no') }} {{ {true: 1, 1: 2} }} {{ d | tojson }} {{ {1.5: 2} | tojson }}\n"
              "{% for k, v in {3: 'c', 1: 'a'} | dictsort %}{{ k }}{{ v }}{% endfor %} {% for k, v in {'b': 1, 'A': 2} | dictsort %}{{ k }}{{ v }}{% endfor %}\n"
              "{{ '<{}|{}>'.format('x', 2) }} {{ '{1}{0}{{}}'.format('a', none) }} {{ '{name}'.format(name='n') }} {{ '{0}{0}'.format(missing) }}\n"
              "{{ none | selectattr('x', 'equalto', 'y') | list }} {{ none | map(attribute='x') | list }} {{ '' | reject('string') | list }}\n"
              "{{ '-' * 3 }}{{ 2 * 'ab' }}{{ 'x' * -1 }}| {% macro n(namespace='own') %}{{ namespace + '!' }}{% endmacro %}{{ n() }}{{ n('given') }}\n"
              "{{ 'Größe ÉÀ Ж中ﬁ ŉ İ Ǆ' | lower }} {{ 'größe éà ж中ﬁ ŉ ı ǆ' | upper }} {% for m in messages %}{{ m.content | lower }}{{ m.content | upper }}{% endfor %}\n",
}


def digest(function):
    """FNV-1a of what becomes of every character but the capital sigma, whose lower case depends on its place."""
    value = 0xcbf29ce484222325
    for code in range(0x110000):
        if 0xD800 <= code < 0xE000 or code == 0x3A3:
            continue
        for byte in function(chr(code)).encode():
            value = (value ^ byte) * 0x100000001b3 & 0xffffffffffffffff
    return f"{value:016x}"


def main():
    tokenizer = Tokenizer(models.BPE(vocab={"<s>": 0, "</s>": 1, "a": 2}, merges=[]))
    cases = []
    for name, template in TEMPLATES.items():
        fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>")
        fast.chat_template = template
        for dialog, messages in DIALOGS.items():
            for generation in (False, True):
                case = {"family": name, "dialog": dialog, "add_generation_prompt": generation, "messages": messages}
                try:
                    case["text"] = fast.apply_chat_template(messages, tokenize=False, add_generation_prompt=generation)
                except Exception as error:  # jinja2's errors of every kind: the template refuses
                    case["refused"] = type(error).__name__
                cases.append(case)
    result = {"bos": "<s>", "eos": "</s>", "templates": TEMPLATES, "cases": cases, "case_digests": {"upper": digest(str.upper), "lower": digest(str.lower)}}
    (HERE / "expected.json").write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
