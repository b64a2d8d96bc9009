/* fuzz_template.c - any bytes as a chat template, rendered with a conversation. */
#include "fuzz.h"

#include "base/json.h"
#include "base/memory.h"
#include "tokens/template.h"

#include <stdlib.h>

const char *const fuzz_seeds[] = {
    "{% for m in messages %}<|{{ m.role }}|>{{ m['content']|trim }}{% if not loop.last %}\n{% "
    "endif %}{% endfor %}",
    "{%- set ns = namespace(x=0) -%}{% for i in range(5) if i % 2 %}{% set ns.x = ns.x + i %}{% "
    "else %}n{% endfor %}{{ ns.x }}",
    "{% macro f(a, b='c') %}{{ a ~ b }}{% endmacro %}{{ f(1) }}{{ f('x', b=[1, {'k': none}]) | "
    "upper }}",
    "{{ messages|tojson(indent=2) }}{{ messages|map(attribute='role')|join(', ') }}{{ "
    "'a,b'.split(',')[::-1] }}",
    "{% set x %}a{{ '{}'.format(messages[0].content) }}{% endset %}{{ x.replace('a', 'b')[1:-1] "
    "}}{# c #}{% raw %}{{{% endraw %}",
    "{{ (1 + 2.5) // 2 ** 3 < 4 <= 5 and not 'a' in 'abc' or x is defined }}{{ "
    "raise_exception('no') if false }}",
    NULL,
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static json_t *variables;
    template *t;
    if (variables == NULL)
        variables = json_pack("{s:[{s:s,s:s},{s:s,s:n}],s:n,s:b}", "messages", "role", "user",
                              "content", "h\xc3\xa9llo <|x|>", "role", "assistant", "content",
                              "tools", "add_generation_prompt", 1);
    if (template_parse(&t, (const char *)data, size, "input") != STATUS_OK) return 0;
    template_output out;
    if (template_render(t, variables, "messages", 0, &out) == STATUS_OK) {
        for (size_t i = 0; i < out.n; i++)
            if (out.outside[i] > 1) abort();
        if (out.text[out.n] != '\0') abort();
    }
    template_output_clear(&out);
    template_free(t);
    return 0;
}
