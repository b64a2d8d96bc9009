/* packages.h - Debian packages: looked up in the package index, fetched once, verified always.
 *
 *     package list[2] = {{.name = "manpages"}, {.name = "fortunes"}};
 *     package_fetch_result fetched;
 *     TRY(packages_get(folder, list, 2, false, &fetched));
 *     ... list[0].path is the verified .deb, list[0].version its version ...
 *
 * Nothing is installed and no privilege is needed. Private to data/.
 */
#ifndef FATHOM_DATA_PACKAGES_H
#define FATHOM_DATA_PACKAGES_H

#include "base/file.h"

#include <stdint.h>

#define PACKAGE_FIELD 160

typedef struct package {
    char name[PACKAGE_FIELD]; /* in; the rest is filled in */
    char version[PACKAGE_FIELD], file[PACKAGE_FIELD];
    char sha256[65];
    int64_t bytes;
    char path[PATH_SIZE];
    bool here; /* path holds a file that was verified by size and SHA-256 */
} package;

typedef struct package_fetch_result {
    int64_t bytes; /* downloaded by this call */
    double seconds;
} package_fetch_result;

/* Fills the list; every package is then in `folder` (created), verified. What is there and fits is
 * kept; the rest is fetched with apt-get, a damaged download once more. `offline`, or without an
 * index, the versions recorded by an earlier call are used if their files are still there.
 * F_UNAVAILABLE without network, F_PACKAGE when a download stays different from its index. */
status packages_get(const char *folder, package *list, int n, bool offline,
                    package_fetch_result *out) MUST_CHECK;

/* Reads stanzas as `apt-cache show` prints them into the list, by name. Fields that are missing or
 * make no sense leave a package unknown (version ""). */
void packages_parse(const char *bytes, size_t n, package *list, int n_packages);

#endif
