/* A machine that fails at one place: preloaded into the program (LD_PRELOAD), told by the environment what to do.

   FAULT_CALL   open, read, write, sync, rename, list, stat, space: the calls that fail
   FAULT_PATH   what the file's path must contain (nothing: every path that is no part of Python or of the system)
   FAULT_SKIP   so many such calls work first
   FAULT_DO     the number of an errno; or what happens before the call, which then goes on:
                shrink, grow (the file), remove (its folder is renamed away), short (reads give one byte)
   FAULT_CLOCK  seconds by which the clock of the day jumps, to and fro, at every second look at it
*/
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static atomic_long seen;
static _Thread_local int inside;

static int watched(const char *path) {
  const char *part = getenv("FAULT_PATH");
  return part && strstr(path, part) != NULL;
}

static void remove_folder(const char *path) {
  char folder[PATH_MAX], other[PATH_MAX + 8];
  snprintf(folder, sizeof folder, "%s", path);
  char *slash = strrchr(folder, '/');
  if (!slash) return;
  *slash = 0;
  snprintf(other, sizeof other, "%s.gone", folder);
  rename(folder, other);
}

static void change_size(const char *path, int grow) {
  struct stat about;
  if (stat(path, &about) == 0 && truncate(path, grow ? about.st_size + 4096 : about.st_size / 2) != 0) perror(path);
}

/* Whether the call fails: errno is set then. */
static int fails(const char *call, const char *path) {
  const char *wanted = getenv("FAULT_CALL"), *what = getenv("FAULT_DO"), *skip = getenv("FAULT_SKIP");
  if (inside || !wanted || !what || strcmp(wanted, call) || !watched(path)) return 0;
  long number = atomic_fetch_add(&seen, 1), first = skip ? atol(skip) : 0;
  if (number < first) return 0;
  int code = atoi(what);
  if (code) {
    errno = code;
    return 1;
  }
  inside = 1;
  if (number == first) {
    if (!strcmp(what, "shrink")) change_size(path, 0);
    if (!strcmp(what, "grow")) change_size(path, 1);
    if (!strcmp(what, "remove")) remove_folder(path);
  }
  inside = 0;
  return 0;
}

static int path_of(int fd, char *path) {
  char name[64];
  snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
  int kept = errno;
  ssize_t length = readlink(name, path, PATH_MAX - 1);
  errno = kept;
  path[length < 0 ? 0 : length] = 0;
  return length >= 0;
}

static int fails_at(const char *call, int fd) {
  char path[PATH_MAX];
  return getenv("FAULT_CALL") && path_of(fd, path) && fails(call, path);
}

static int watched_at(int fd) {
  char path[PATH_MAX];
  return path_of(fd, path) && watched(path);
}

/* The buffers that are read into: one byte of them where reads are short. */
static int shortened(int fd, const struct iovec **to, int count, struct iovec *one) {
  const char *what = getenv("FAULT_DO");
  if (!what || strcmp(what, "short") || !watched_at(fd) || count < 1 || (*to)->iov_len < 1) return count;
  one->iov_base = (*to)->iov_base;
  one->iov_len = 1;
  *to = one;
  return 1;
}

int open(const char *path, int flags, ...) {
  if (fails("open", path)) return -1;
  va_list rest;
  va_start(rest, flags);
  mode_t mode = flags & (O_CREAT | __O_TMPFILE) ? va_arg(rest, mode_t) : 0;
  va_end(rest);
  return REAL(open)(path, flags, mode);
}
int open64(const char *path, int flags, ...) {
  if (fails("open", path)) return -1;
  va_list rest;
  va_start(rest, flags);
  mode_t mode = flags & (O_CREAT | __O_TMPFILE) ? va_arg(rest, mode_t) : 0;
  va_end(rest);
  return REAL(open64)(path, flags, mode);
}
int openat(int folder, const char *path, int flags, ...) {
  if (fails("open", path)) return -1;
  va_list rest;
  va_start(rest, flags);
  mode_t mode = flags & (O_CREAT | __O_TMPFILE) ? va_arg(rest, mode_t) : 0;
  va_end(rest);
  return REAL(openat)(folder, path, flags, mode);
}
int openat64(int folder, const char *path, int flags, ...) {
  if (fails("open", path)) return -1;
  va_list rest;
  va_start(rest, flags);
  mode_t mode = flags & (O_CREAT | __O_TMPFILE) ? va_arg(rest, mode_t) : 0;
  va_end(rest);
  return REAL(openat64)(folder, path, flags, mode);
}

#define READ(call)                                                             \
  struct iovec whole = {to, count}, one;                                       \
  const struct iovec *into = &whole;                                           \
  if (fails_at("read", fd)) return -1;                                         \
  shortened(fd, &into, 1, &one);                                               \
  count = into->iov_len;                                                       \
  return call
#define READV(call)                                                            \
  struct iovec one;                                                            \
  if (fails_at("read", fd)) return -1;                                         \
  count = shortened(fd, &to, count, &one);                                     \
  return call

ssize_t read(int fd, void *to, size_t count) { READ(REAL(read)(fd, to, count)); }
ssize_t pread(int fd, void *to, size_t count, off_t at) { READ(REAL(pread)(fd, to, count, at)); }
ssize_t pread64(int fd, void *to, size_t count, off64_t at) { READ(REAL(pread64)(fd, to, count, at)); }
ssize_t preadv(int fd, const struct iovec *to, int count, off_t at) {
  READV(REAL(preadv)(fd, to, count, at));
}
ssize_t preadv64(int fd, const struct iovec *to, int count, off64_t at) {
  READV(REAL(preadv64)(fd, to, count, at));
}
ssize_t preadv2(int fd, const struct iovec *to, int count, off_t at, int flags) {
  READV(REAL(preadv2)(fd, to, count, at, flags));
}
ssize_t preadv64v2(int fd, const struct iovec *to, int count, off64_t at, int flags) {
  READV(REAL(preadv64v2)(fd, to, count, at, flags));
}
ssize_t write(int fd, const void *from, size_t count) {
  return fails_at("write", fd) ? -1 : REAL(write)(fd, from, count);
}
ssize_t pwrite(int fd, const void *from, size_t count, off_t at) {
  return fails_at("write", fd) ? -1 : REAL(pwrite)(fd, from, count, at);
}
ssize_t pwrite64(int fd, const void *from, size_t count, off64_t at) {
  return fails_at("write", fd) ? -1 : REAL(pwrite64)(fd, from, count, at);
}
int fsync(int fd) { return fails_at("sync", fd) ? -1 : REAL(fsync)(fd); }
int fdatasync(int fd) { return fails_at("sync", fd) ? -1 : REAL(fdatasync)(fd); }
int ftruncate(int fd, off_t size) { return fails_at("space", fd) ? -1 : REAL(ftruncate)(fd, size); }
int ftruncate64(int fd, off64_t size) { return fails_at("space", fd) ? -1 : REAL(ftruncate64)(fd, size); }
int posix_fallocate(int fd, off_t at, off_t size) {
  return fails_at("space", fd) ? errno : REAL(posix_fallocate)(fd, at, size);
}
int posix_fallocate64(int fd, off64_t at, off64_t size) {
  return fails_at("space", fd) ? errno : REAL(posix_fallocate64)(fd, at, size);
}
int fallocate(int fd, int mode, off_t at, off_t size) {
  return fails_at("space", fd) ? -1 : REAL(fallocate)(fd, mode, at, size);
}
int fallocate64(int fd, int mode, off64_t at, off64_t size) {
  return fails_at("space", fd) ? -1 : REAL(fallocate64)(fd, mode, at, size);
}
int rename(const char *from, const char *to) {
  return fails("rename", to) ? -1 : REAL(rename)(from, to);
}
int renameat(int from_folder, const char *from, int to_folder, const char *to) {
  return fails("rename", to) ? -1 : REAL(renameat)(from_folder, from, to_folder, to);
}
DIR *opendir(const char *path) { return fails("list", path) ? NULL : REAL(opendir)(path); }
struct dirent64 *readdir64(DIR *folder) {
  return fails_at("list", dirfd(folder)) ? NULL : REAL(readdir64)(folder);
}
int fstat(int fd, struct stat *about) { return fails_at("stat", fd) ? -1 : REAL(fstat)(fd, about); }
int fstat64(int fd, struct stat64 *about) { return fails_at("stat", fd) ? -1 : REAL(fstat64)(fd, about); }
int lstat(const char *path, struct stat *about) { return fails("stat", path) ? -1 : REAL(lstat)(path, about); }
int lstat64(const char *path, struct stat64 *about) { return fails("stat", path) ? -1 : REAL(lstat64)(path, about); }
int stat(const char *path, struct stat *about) { return fails("stat", path) ? -1 : REAL(stat)(path, about); }
int stat64(const char *path, struct stat64 *about) { return fails("stat", path) ? -1 : REAL(stat64)(path, about); }

int clock_gettime(clockid_t clock, struct timespec *now) {
  static atomic_long looks;
  const char *jump = getenv("FAULT_CLOCK");
  int code = REAL(clock_gettime)(clock, now);
  if (jump && clock == CLOCK_REALTIME && atomic_fetch_add(&looks, 1) % 2) now->tv_sec += atol(jump);
  return code;
}
