/* corpus_fixture.h - a make-believe Debian: programs apt-cache and apt-get that serve packages made
 * by the test, put in front of PATH. */
#ifndef FATHOM_TESTS_CORPUS_FIXTURE_H
#define FATHOM_TESTS_CORPUS_FIXTURE_H

#include "base/file.h"
#include "data/buffer.h"

typedef struct fake_apt {
    char root[PATH_SIZE];  /* index, pool/, calls (one line per call of apt-get) */
    char cache[PATH_SIZE]; /* an empty folder for packages_get */
    char *old_path;
} fake_apt;

status fake_apt_open(fake_apt *f) MUST_CHECK;
void fake_apt_close(fake_apt *f); /* PATH is as before */
/* A package in index and pool. `promised` NULL: the index tells the truth about `deb`. */
status fake_apt_add(fake_apt *f, const char *name, const char *version, const buffer *deb,
                    const char *promised) MUST_CHECK;
/* Makes apt-get fail with a message ("offline"), serve damaged files for n calls ("damage 1"), or
 * work again (""). */
status fake_apt_mode(fake_apt *f, const char *mode) MUST_CHECK;
int fake_apt_calls(const fake_apt *f); /* of apt-get download so far */
/* A .deb that holds these files: path, text, path, text, ..., NULL. */
void fake_deb(buffer *deb, const char *const *files);

#endif
