/* Faults at the boundary between the server and its disk, for tests only. Loaded with LD_PRELOAD.
 *
 *   FAULT_CALL    fdatasync | pwrite      which call counts (fsync counts as fdatasync; pwrite64 as pwrite)
 *   FAULT_AT      n                       act at the n-th such call (from 1) on a file whose name contains FAULT_FILE
 *   FAULT_FILE    text                    for example "obelisk.sqlite"
 *   FAULT_KIND    kill | kill-after | eio | enospc     kill before or after the real call, or fail it
 *   FAULT_UNTIL   path                    while this file exists, eio and enospc go on for every later call
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

static atomic_long seen;

static int concerns(int fd) {
  const char *wanted = getenv("FAULT_FILE");
  char link[64], name[4096];
  if (!wanted) return 1;
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t length = readlink(link, name, sizeof name - 1);
  if (length < 0) return 0;
  name[length] = 0;
  return strstr(name, wanted) != NULL;
}

/* Returns 0: go on; otherwise the errno to fail with. Never returns for a kill. *after: kill when the call is done. */
static int fault(const char *call, int fd, int *after) {
  const char *wanted = getenv("FAULT_CALL"), *at = getenv("FAULT_AT"), *kind = getenv("FAULT_KIND");
  const char *until = getenv("FAULT_UNTIL");
  *after = 0;
  if (!wanted || !at || !kind || strcmp(wanted, call) || !concerns(fd)) return 0;
  long n = atomic_fetch_add(&seen, 1) + 1, trigger = atol(at);
  int fails = !strcmp(kind, "eio") ? EIO : !strcmp(kind, "enospc") ? ENOSPC : 0;
  if (n < trigger) return 0;
  if (fails) {
    if (n > trigger && (!until || access(until, F_OK))) return 0;
    return fails;
  }
  if (n != trigger) return 0;
  if (!strcmp(kind, "kill")) kill(getpid(), SIGKILL);
  *after = !strcmp(kind, "kill-after");
  return 0;
}

#define DONE(result)                      \
  do {                                    \
    if (after) kill(getpid(), SIGKILL);   \
    return result;                        \
  } while (0)

int fdatasync(int fd) {
  int (*real)(int) = dlsym(RTLD_NEXT, "fdatasync"), after;
  int error = fault("fdatasync", fd, &after);
  if (error) { errno = error; return -1; }
  int result = real(fd);
  DONE(result);
}

int fsync(int fd) {
  int (*real)(int) = dlsym(RTLD_NEXT, "fsync"), after;
  int error = fault("fdatasync", fd, &after);
  if (error) { errno = error; return -1; }
  int result = real(fd);
  DONE(result);
}

ssize_t pwrite(int fd, const void *data, size_t size, off_t offset) {
  ssize_t (*real)(int, const void *, size_t, off_t) = dlsym(RTLD_NEXT, "pwrite");
  int after, error = fault("pwrite", fd, &after);
  if (error) { errno = error; return -1; }
  ssize_t result = real(fd, data, size, offset);
  DONE(result);
}

ssize_t pwrite64(int fd, const void *data, size_t size, off64_t offset) {
  ssize_t (*real)(int, const void *, size_t, off64_t) = dlsym(RTLD_NEXT, "pwrite64");
  int after, error = fault("pwrite", fd, &after);
  if (error) { errno = error; return -1; }
  ssize_t result = real(fd, data, size, offset);
  DONE(result);
}
