/* test_memory.c - memory from mem_* and arenas: failures that are asked for, marks, limits. */
#include "base/memory.h"
#include "test.h"

TEST(memory_failure_is_injected_once) {
    int64_t before = mem_live_blocks();
    mem_fail_at(2);
    void *a = mem_alloc(10), *b = mem_alloc(10), *c = mem_zalloc(3, 5);
    CHECK(a != NULL && b == NULL && c != NULL, "second fails");
    CHECK(mem_failed() && error_last()->id == F_NO_MEMORY, "reported");
    mem_fail_at(0);
    mem_free(a), mem_free(b), mem_free(c);
    CHECK(mem_live_blocks() == before, "leak");
    CHECK(mem_zalloc((size_t)1 << 40, (size_t)1 << 40) == NULL, "overflow is refused");
}

TEST(arena_marks_and_limits) {
    arena a;
    REQUIRE_OK(arena_init(&a, "test", 3 << 20));
    char *first = arena_alloc(&a, 100);
    size_t mark = arena_mark(&a);
    char *second = arena_zalloc(&a, 1 << 20);
    CHECK(first != NULL && second != NULL && (uintptr_t)second % 64 == 0, "aligned");
    CHECK(arena_alloc(&a, 64 << 20) == NULL && error_last()->id == F_NO_MEMORY, "full");
    arena_reset(&a, mark);
    CHECK(arena_alloc(&a, 10) == second, "reset gives the place back");
    arena_clear(&a);
}
