/* token_trie.c - all tokens that can appear in encoded text, as a trie over their bytes.
 *
 * How. A double array (Aoe 1989): the child of a node by byte c lies at base ^ c and says whose
 * child it is and whether a token ends there, so a step is one load of 8 bytes and one comparison;
 * the ids lie apart, since only the last one of a walk is read. A node with one child
 * takes the first free place, so the tail of a token is mostly a run of neighbouring nodes; one
 * with several tries a few places and else starts a new block of 256.
 *
 * Building walks the trie depth first with an explicit stack. A task is a range of tokens that
 * share their first `depth` bytes; ranges on the stack are disjoint, so the stack never holds more
 * tasks than there are tokens.
 */
#include "tokens/tokens_internal.h"

#define FREE       (TRIE_ENDS - 1)
#define ROOT_CHILD (TRIE_ENDS - 2) /* parent of the root: nobody's number */
#define BLOCK      256u
#define TRIES      32

typedef struct trie_task {
    uint32_t node, depth;
    int32_t from, to; /* of order[] */
    int32_t shorter;  /* longest token that ends above this node */
} trie_task;

typedef struct trie_builder {
    const tokenizer *t;
    token_cover *cover;
    int32_t *order, *spare; /* [n] ids */
    trie_task *stack;       /* [n + 1] */
    size_t n_stack;
    uint32_t room, low; /* no free place below `low` */
} trie_builder;

static status add_block(trie_builder *b) {
    token_cover *c = b->cover;
    if (c->n_nodes == b->room) {
        if (b->room > TRIE_ENDS / 4)
            return FAIL(F_OVERFLOW, "the trie of tokens is too large", "vocabulary",
                        "its nodes are counted in 31 bits", "use a smaller vocabulary");
        uint32_t room = b->room == 0 ? 64 * BLOCK : 2 * b->room;
        trie_node *nodes = mem_resize(c->nodes, room, sizeof *nodes);
        if (nodes == NULL) return STATUS_MEMORY;
        c->nodes = nodes;
        int32_t *ids = mem_resize(c->ids, room, sizeof *ids);
        if (ids == NULL) return STATUS_MEMORY;
        c->ids = ids;
        b->room = room;
    }
    for (uint32_t i = 0; i < BLOCK; i++) {
        c->nodes[c->n_nodes + i] = (trie_node){0, FREE};
        c->ids[c->n_nodes + i] = -1;
    }
    c->n_nodes += BLOCK;
    return STATUS_OK;
}

static bool all_free(const token_cover *c, uint32_t base, const uint8_t *bytes, int n) {
    for (int i = 0; i < n; i++)
        if (c->nodes[base ^ bytes[i]].parent != FREE) return false;
    return true;
}

/* A base under which the children by these bytes have free places. */
static status find_base(trie_builder *b, const uint8_t *bytes, int n, uint32_t *base) {
    const token_cover *c = b->cover;
    while (b->low < c->n_nodes && c->nodes[b->low].parent != FREE)
        b->low++;
    int tries = 0;
    for (uint32_t at = b->low; at < c->n_nodes && tries < TRIES; at++) {
        if (c->nodes[at].parent != FREE) continue;
        *base = at ^ bytes[0];
        if (all_free(c, *base, bytes, n)) return STATUS_OK;
        tries++;
    }
    *base = c->n_nodes;
    return add_block(b);
}

/* Sorts order[from .. to) by the byte at `depth`; start[c] .. start[c + 1] are those of byte c. */
static void sort_range(trie_builder *b, const trie_task *task, int32_t start[257]) {
    memset(start, 0, 257 * sizeof *start);
    for (int32_t i = task->from; i < task->to; i++) {
        size_t n;
        start[token_bytes(b->t, b->order[i], &n)[task->depth] + 1]++;
    }
    start[0] = task->from;
    for (int c = 1; c <= 256; c++)
        start[c] += start[c - 1];
    int32_t next[256];
    memcpy(next, start, sizeof next);
    for (int32_t i = task->from; i < task->to; i++) {
        size_t n;
        b->spare[next[token_bytes(b->t, b->order[i], &n)[task->depth]]++] = b->order[i];
    }
    size_t bytes = (size_t)(task->to - task->from) * sizeof *b->order;
    memcpy(b->order + task->from, b->spare + task->from, bytes);
}

/* The token that ends at the task's node, if there is one, leaves the range. */
static void take_ending(trie_builder *b, trie_task *task) {
    for (int32_t i = task->from; i < task->to; i++) {
        int32_t id = b->order[i];
        size_t n;
        token_bytes(b->t, id, &n);
        if (n != task->depth) continue;
        b->cover->nodes[task->node].parent |= TRIE_ENDS;
        b->cover->ids[task->node] = id;
        b->cover->joints[id].shorter = task->shorter;
        task->shorter = id;
        b->order[i] = b->order[task->from];
        b->order[task->from++] = id;
        return; /* tokens differ in their bytes */
    }
}

static status grow_node(trie_builder *b, trie_task task) {
    take_ending(b, &task);
    if (task.from == task.to) return STATUS_OK;
    int32_t start[257];
    uint8_t bytes[256];
    int n = 0;
    sort_range(b, &task, start);
    for (int c = 0; c < 256; c++)
        if (start[c] < start[c + 1]) bytes[n++] = (uint8_t)c;
    uint32_t base = 0;
    TRY(find_base(b, bytes, n, &base));
    b->cover->nodes[task.node].base = base;
    for (int i = 0; i < n; i++) {
        uint32_t child = base ^ bytes[i];
        b->cover->nodes[child].parent = task.node;
        b->stack[b->n_stack++] = (trie_task){.node = child,
                                             .depth = task.depth + 1,
                                             .from = start[bytes[i]],
                                             .to = start[bytes[i] + 1],
                                             .shorter = task.shorter};
    }
    return STATUS_OK;
}

static status grow_trie(trie_builder *b) {
    TRY(add_block(b));
    b->cover->nodes[0].parent = ROOT_CHILD;
    int32_t n = 0;
    for (int32_t id = 0; id < b->t->n; id++)
        if (b->t->flags[id] & TOKEN_STABLE) b->order[n++] = id;
    b->stack[b->n_stack++] = (trie_task){.node = 0, .to = n, .shorter = -1};
    while (b->n_stack > 0)
        TRY(grow_node(b, b->stack[--b->n_stack]));
    return STATUS_OK;
}

status token_trie_build(const tokenizer *t, token_cover *cover) {
    size_t n = (size_t)t->n;
    trie_builder b = {.t = t, .cover = cover};
    b.order = mem_alloc(n * sizeof *b.order);
    b.spare = mem_alloc(n * sizeof *b.spare);
    b.stack = mem_alloc((n + 1) * sizeof *b.stack);
    bool ready = b.order != NULL && b.spare != NULL && b.stack != NULL;
    status s = ready ? grow_trie(&b) : STATUS_MEMORY;
    mem_free(b.order);
    mem_free(b.spare);
    mem_free(b.stack);
    return s;
}
