/* completion.c - what the shell offers when Tab is pressed.
 *
 * What: `fathom completion bash|zsh|fish` prints a script. The script asks the program itself,
 * `fathom complete -- WORDS`, so that all shells offer the same and nothing is listed twice: the
 * answer comes from the tables that parse the command line, and from the folders data/ and runs/.
 *
 * How: the words before the last are read as command.c reads them (commands, flags, values of flags),
 * the last is the one being typed. What may stand there is said by the row of its flag or by the usage
 * of its command, in words that options.h explains. The answer is a line "words", "files" or "folders"
 * (names of files fit, too), then one candidate a line, whole, with its explanation behind a tab.
 *
 * Mind: a candidate that ends in "=" is not finished: no blank is put behind it. bash cuts words at
 * "="; its script joins them before it asks, and takes off what the shell will not replace. Settings
 * are not read, so a mistake in fathom.ini does not silence Tab.
 */
#include "base/command_internal.h"

#include "base/file.h"

#include <ctype.h>
#include <string.h>

#define TABLES_MOST 128

typedef enum rest { REST_WORDS, REST_FOLDERS, REST_FILES } rest; /* what fits beside candidates */

typedef struct completion {
    command_context *c;
    const command *const *list; /* commands that may come next; NULL = none */
    const command *command;     /* NULL until named */
    const option *pending;      /* the flag whose value is being typed */
    const char *typed;          /* candidates start with it */
    char before[256];           /* is put in front of each: the part of the word that is settled */
    int n_arguments;            /* of the command, before the word being typed */
    bool only_words;            /* "--" was there */
    rest rest;
    char *answer;
    size_t used;
} completion;

/* -- candidates -- */

static status offer(completion *k, const char *word, const char *about) {
    if (strncmp(word, k->typed, strlen(k->typed)) != 0) return STATUS_OK;
    size_t first = strcspn(about, "\n");
    const char *line = text("%s%s\t%.*s\n", k->before, word, (int)first, about);
    size_t n = strlen(line), head = strcspn(line, "\t") + 1;
    for (const char *at = k->answer; at != NULL && *at != '\0'; at = strchr(at, '\n') + 1)
        if (strncmp(at, line, head) == 0) return STATUS_OK; /* two tables share the name */
    char *moved = mem_resize(k->answer, k->used + n + 1, 1);
    if (moved == NULL) return STATUS_MEMORY;
    k->answer = moved;
    memcpy(k->answer + k->used, line, n + 1);
    k->used += n;
    return STATUS_OK;
}

static status offer_commands(completion *k, const command *const *list) {
    for (int i = 0; list != NULL && list[i] != NULL; i++)
        if (!list[i]->hidden) TRY(offer(k, list[i]->name, list[i]->summary));
    return STATUS_OK;
}

static status offer_flags(completion *k, const option_table *table) {
    for (int i = 0; i < table->n; i++) {
        const option *row = &table->rows[i];
        if ((row->flags & OPTION_HIDDEN) != 0) continue;
        TRY(offer(k, text("--%s", row->name), row->help));
        if (row->type == OPTION_BOOL && row->standard != NULL && strcmp(row->standard, "true") == 0)
            TRY(offer(k, text("--no-%s", row->name), row->help));
    }
    return STATUS_OK;
}

/* Folders below `folder` that hold the file `mark`. */
static status offer_folders(completion *k, const char *folder, const char *mark,
                            const char *about) {
    char **names, path[PATH_SIZE], inside[PATH_SIZE];
    int n;
    if (!path_is_folder(folder)) return STATUS_OK;
    TRY(folder_list(folder, &names, &n));
    status result = STATUS_OK;
    for (int i = 0; i < n && result == STATUS_OK; i++) {
        result = path_join(path, folder, names[i]);
        if (result == STATUS_OK) result = path_join(inside, path, mark);
        if (result == STATUS_OK && path_exists(inside)) result = offer(k, path, about);
    }
    folder_list_free(names, n);
    return result;
}

/* Moves the text up to and with the last `mark` from what is typed to what is settled. */
static void settle(completion *k, char mark) {
    const char *at = strrchr(k->typed, mark);
    size_t used = strlen(k->before);
    if (at == NULL) return;
    snprintf(k->before + used, sizeof k->before - used, "%.*s", (int)(at + 1 - k->typed), k->typed);
    k->typed = at + 1;
}

static status offer_presets(completion *k, const option_table *table) {
    for (const option_preset *p = table->presets; p != NULL && p->name != NULL; p++)
        TRY(offer(k, p->name, p->about));
    return STATUS_OK;
}

static status offer_sections(completion *k, const option_table *table) {
    for (int i = 0; i < table->n; i++)
        if (table->rows[i].section[0] != '\0')
            TRY(offer(k, table->rows[i].section, "section of settings"));
    return STATUS_OK;
}

static status offer_kinds(completion *k, const char *words);

static status offer_values(completion *k, const option *row) {
    if (row->type == OPTION_BOOL) {
        TRY(offer(k, "true", "on"));
        return offer(k, "false", "off");
    }
    for (int i = 0; row->type == OPTION_CHOICE && row->choices[i] != NULL; i++)
        TRY(offer(k, row->choices[i], ""));
    if (row->type != OPTION_STRING) return STATUS_OK;
    return row->value != NULL ? offer_kinds(k, row->value) : STATUS_OK;
}

/* What --set may set: "section.name=", and behind the "=" its values. */
static status offer_settings(completion *k, const option_table *table) {
    const char *equals = strchr(k->typed, '=');
    for (int i = 0; i < table->n; i++) {
        const option *row = &table->rows[i];
        if ((row->flags & (OPTION_FLAG_ONLY | OPTION_HIDDEN)) != 0) continue;
        const char *path = option_path(row);
        if (equals == NULL) {
            TRY(offer(k, text("%s=", path), row->help));
        } else if (strlen(path) == (size_t)(equals - k->typed) &&
                   strncmp(path, k->typed, strlen(path)) == 0) {
            settle(k, '=');
            return offer_values(k, row);
        }
    }
    return STATUS_OK;
}

static status offer_tables(completion *k, status (*of_table)(completion *, const option_table *)) {
    const option_table *tables[TABLES_MOST];
    int n = command_tables(k->c->program, tables, TABLES_MOST);
    for (int t = 0; t < n; t++)
        TRY(of_table(k, tables[t]));
    return STATUS_OK;
}

static bool is_word(const char *kind, size_t n, const char *word) {
    return strlen(word) == n && strncmp(kind, word, n) == 0;
}

/* What one word of options.h stands for. */
static status offer_kind(completion *k, const char *kind, size_t n) {
    if (islower((unsigned char)kind[0])) return offer(k, text("%.*s", (int)n, kind), "");
    if (is_word(kind, n, "PRESET")) return offer_tables(k, offer_presets);
    if (is_word(kind, n, "SECTION")) return offer_tables(k, offer_sections);
    if (is_word(kind, n, "KEY")) return offer_tables(k, offer_settings);
    if (is_word(kind, n, "FILE") || is_word(kind, n, "TOKENIZER")) k->rest = REST_FILES;
    if (is_word(kind, n, "FOLDER") && k->rest == REST_WORDS) k->rest = REST_FOLDERS;
    if (is_word(kind, n, "RUN") || is_word(kind, n, "MODEL"))
        return offer_folders(k, "runs", "config.ini", "run");
    if (is_word(kind, n, "DATASET")) return offer_folders(k, "data", "data.json", "dataset");
    const char *word, *about;
    for (const command_words *w = k->c->program->words; w != NULL && w->kind != NULL; w++)
        for (int i = 0; is_word(kind, n, w->kind) && w->at(i, &word, &about); i++)
            TRY(offer(k, word, about));
    return STATUS_OK;
}

/* Of a usage line or of the value of a row. Runs and datasets may lie elsewhere, too: if none that is
 * known fits, any folder may be on the way. */
static status offer_kinds(completion *k, const char *words) {
    bool elsewhere = false;
    if (strstr(words, ",...") != NULL) settle(k, ',');
    for (const char *at = words; *at != '\0';) {
        size_t n = 0;
        while (isalnum((unsigned char)at[n]) || (n > 0 && at[n] == '-'))
            n++;
        if (n > 0) TRY(offer_kind(k, at, n));
        elsewhere = elsewhere || is_word(at, n, "RUN") || is_word(at, n, "MODEL") ||
                    is_word(at, n, "DATASET");
        at += n > 0 ? n : 1;
    }
    if (elsewhere && k->used == 0 && k->rest == REST_WORDS) k->rest = REST_FOLDERS;
    return STATUS_OK;
}

/* -- the words before -- */

/* The row of a flag without its dashes, or of a letter, among the tables in force. */
static const option *find_flag(const completion *k, const char *name, char letter) {
    const option_table *const *own = k->command != NULL ? k->command->options : NULL;
    for (int t = -1; t < 0 || (own != NULL && own[t] != NULL); t++) {
        const option_table *table = t < 0 ? &global_options : own[t];
        for (int i = 0; letter != 0 && i < table->n; i++)
            if (table->rows[i].letter == letter) return &table->rows[i];
        const option *row = letter == 0 ? option_find(table, NULL, name) : NULL;
        if (row != NULL) return row;
    }
    return NULL;
}

static const option *flag_of(const completion *k, const char *word) {
    if (word[1] == '-') return find_flag(k, word + 2, 0);
    return word[1] != '\0' && word[2] == '\0' ? find_flag(k, "", word[1]) : NULL;
}

/* One word that is complete. Help and man take commands as their arguments. */
static void pass_word(completion *k, const char *word) {
    const command *found = command_find(k->list, word);
    bool first = k->command == NULL;
    if (found == NULL && k->list == k->c->program->commands)
        found = command_find(built_in_commands, word);
    bool about_commands = k->command != NULL && k->command->usage != NULL &&
                          strstr(k->command->usage, "COMMAND") != NULL;
    if (found != NULL && !about_commands) k->command = found;
    k->list = found != NULL ? found->children : NULL;
    if (!first && found == NULL) k->n_arguments++;
    if (first && found != NULL && found->usage != NULL && strstr(found->usage, "COMMAND") != NULL)
        k->list = k->c->program->commands;
}

/* The words before the last; the last itself is what a flag without "=" waits for. */
static void pass_words(completion *k, const char *const *words, int n) {
    for (int i = 0; i < n; i++) {
        if (k->only_words || words[i][0] != '-' || words[i][1] == '\0') {
            pass_word(k, words[i]);
        } else if (strcmp(words[i], "--") == 0) {
            k->only_words = true;
        } else if (strchr(words[i], '=') == NULL) {
            const option *row = flag_of(k, words[i]);
            if (row == NULL || row->type == OPTION_BOOL) continue;
            if (++i >= n) k->pending = row;
        }
    }
}

/* "--log=js" holds a flag and the beginning of its value. */
static void take_last(completion *k, const char *last) {
    const char *equals = strchr(last, '=');
    k->typed = last;
    if (k->pending != NULL || k->only_words || strncmp(last, "--", 2) != 0 || equals == NULL)
        return;
    k->pending = find_flag(k, text("%.*s", (int)(equals - last - 2), last + 2), 0);
    snprintf(k->before, sizeof k->before, "%.*s", (int)(equals - last + 1), last);
    k->typed = equals + 1;
}

static status offer_all(completion *k) {
    const command *own = k->command;
    if (k->pending != NULL) return offer_values(k, k->pending);
    if (k->typed[0] == '-' && !k->only_words) {
        for (int i = 0; own != NULL && own->options != NULL && own->options[i] != NULL; i++)
            TRY(offer_flags(k, own->options[i]));
        return offer_flags(k, &global_options);
    }
    TRY(offer_commands(k, k->list));
    if (k->list == k->c->program->commands) TRY(offer_commands(k, built_in_commands));
    if (own == NULL || own->run == NULL || own->usage == NULL) return STATUS_OK;
    bool full = own->max_arguments >= 0 && k->n_arguments >= own->max_arguments;
    return full ? STATUS_OK : offer_kinds(k, own->usage);
}

/* Prints the answer, or gives it as result.answer. */
static status give(command_context *c, const char *head, const char *body) {
    say(c, "%s%s", head, body);
    return result_set(c, "answer", json_string(body));
}

static status complete_run(command_context *c) {
    static const char *const heads[] = {"words\n", "folders\n", "files\n"};
    completion k = {.c = c, .list = c->program->commands};
    int n = c->n_arguments;
    pass_words(&k, c->arguments, n - 1);
    take_last(&k, n > 0 ? c->arguments[n - 1] : "");
    status result = offer_all(&k);
    if (result == STATUS_OK) result = give(c, heads[k.rest], k.answer != NULL ? k.answer : "");
    mem_free(k.answer);
    return result;
}

const command complete_command = {
    .name = "complete",
    .summary = "answer a shell that wants to complete a line",
    .usage = "[WORD...]",
    .examples = "fathom complete -- train --sch",
    .max_arguments = -1,
    .run = complete_run,
    .hidden = true,
    .no_settings = true,
};

/* -- scripts -- */

/* clang-format off */
static const char bash_script[] =
    "# bash completion of fathom: put it where bash-completion looks for it, or source it.\n"
    "_fathom() {\n"
    "    local answer joined kind line part typed i\n"
    "    local program=${COMP_WORDS[0]} words=()\n"
    "    COMPREPLY=()\n"
    "    for ((i = 1; i <= COMP_CWORD; i++)); do\n"
    "        part=${COMP_WORDS[i]}\n"
    "        if ((${#words[@]} > 0)) && [[ $part == '=' || $joined == '=' ]]; then\n"
    "            words[-1]+=$part\n"
    "        else\n"
    "            words+=(\"$part\")\n"
    "        fi\n"
    "        joined=$part\n"
    "    done\n"
    "    typed=${COMP_WORDS[COMP_CWORD]}\n"
    "    [[ $typed == '=' ]] && typed=\n"
    "    line=${words[-1]}\n"
    "    joined=${line:0:${#line}-${#typed}}\n"
    "    answer=$(\"${program/#\\~/$HOME}\" complete -- \"${words[@]}\" 2>/dev/null) || return 0\n"
    "    kind=${answer%%$'\\n'*}\n"
    "    while IFS= read -r line; do\n"
    "        [[ $line == *$'\\t'* ]] || continue\n"
    "        line=${line%%$'\\t'*}\n"
    "        COMPREPLY+=(\"${line#\"$joined\"}\")\n"
    "    done <<<\"$answer\"\n"
    "    [[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == *= ]] && compopt -o nospace 2>/dev/null\n"
    "    part=-f\n"
    "    [[ $kind == folders ]] && part=-d\n"
    "    if [[ $kind != words ]]; then\n"
    "        compopt -o filenames 2>/dev/null\n"
    "        while IFS= read -r line; do\n"
    "            [[ -n $line ]] && COMPREPLY+=(\"$line\")\n"
    "        done < <(compgen \"$part\" -- \"$typed\")\n"
    "    fi\n"
    "    return 0\n"
    "}\n"
    "complete -F _fathom fathom\n";

static const char zsh_script[] =
    "#compdef fathom\n"
    "# zsh completion of fathom: put it as _fathom into a folder of $fpath, or source it.\n"
    "_fathom() {\n"
    "    local -a answer whole open\n"
    "    local kind line word about\n"
    "    answer=(\"${(@f)$(${(Q)words[1]} complete -- \"${(@Q)words[2,CURRENT]}\" 2>/dev/null)}\")\n"
    "    kind=$answer[1]\n"
    "    for line in \"${(@)answer[2,-1]}\"; do\n"
    "        word=${line%%$'\\t'*}\n"
    "        about=${line#*$'\\t'}\n"
    "        if [[ $word == *= ]]; then\n"
    "            open+=(\"${word//:/\\\\:}:$about\")\n"
    "        elif [[ -n $word ]]; then\n"
    "            whole+=(\"${word//:/\\\\:}:$about\")\n"
    "        fi\n"
    "    done\n"
    "    (( $#whole )) && _describe fathom whole\n"
    "    (( $#open )) && _describe setting open -S ''\n"
    "    [[ $kind == words ]] && return\n"
    "    compset -P '--*='\n"
    "    if [[ $kind == folders ]]; then\n"
    "        _files -/\n"
    "    else\n"
    "        _files\n"
    "    fi\n"
    "}\n"
    "if [[ $funcstack[1] == _fathom ]]; then\n"
    "    _fathom \"$@\"\n"
    "else\n"
    "    compdef _fathom fathom\n"
    "fi\n";

static const char fish_script[] =
    "# fish completion of fathom: put it as fathom.fish into a folder of $fish_complete_path.\n"
    "function __fathom_complete\n"
    "    set -l before (commandline -opc)\n"
    "    set -l word (commandline -ct)\n"
    "    set -l program $before[1]\n"
    "    set -e before[1]\n"
    "    set -l answer ($program complete -- $before \"$word\" 2>/dev/null)\n"
    "    set -q answer[1]; or return\n"
    "    set -l kind $answer[1]\n"
    "    set -e answer[1]\n"
    "    set -q answer[1]; and printf '%s\\n' $answer\n"
    "    switch $kind\n"
    "        case files\n"
    "            __fish_complete_path \"$word\"\n"
    "        case folders\n"
    "            __fish_complete_directories \"$word\"\n"
    "    end\n"
    "end\n"
    "complete -c fathom -f -a '(__fathom_complete)'\n";
/* clang-format on */

static status bash_run(command_context *c) {
    return give(c, "", bash_script);
}

static status zsh_run(command_context *c) {
    return give(c, "", zsh_script);
}

static status fish_run(command_context *c) {
    return give(c, "", fish_script);
}

static const command bash_command = {
    .name = "bash",
    .summary = "the script for bash",
    .examples = "fathom completion bash > ~/.local/share/bash-completion/completions/fathom",
    .run = bash_run,
    .no_settings = true,
};
static const command zsh_command = {
    .name = "zsh",
    .summary = "the script for zsh",
    .examples = "fathom completion zsh > ~/.zsh/_fathom",
    .run = zsh_run,
    .no_settings = true,
};
static const command fish_command = {
    .name = "fish",
    .summary = "the script for fish",
    .examples = "fathom completion fish > ~/.config/fish/completions/fathom.fish",
    .run = fish_run,
    .no_settings = true,
};
static const command *const shells[] = {&bash_command, &zsh_command, &fish_command, NULL};

const command completion_command = {
    .name = "completion",
    .summary = "print the script that lets a shell complete commands, options and values",
    .examples = "fathom completion bash > ~/.local/share/bash-completion/completions/fathom\n"
                "fathom completion zsh > ~/.zsh/_fathom\n"
                "fathom completion fish > ~/.config/fish/completions/fathom.fish",
    .children = shells,
};
