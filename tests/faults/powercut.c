/* A disk that a test can cut the power of: LD_PRELOAD this, and everything done to files under POWERCUT_DIR is written
 * to POWERCUT_LOG as it happens. powercut.py replays the log, discards what was not synced, and puts back what a real
 * disk could have held. fsync waits POWERCUT_SYNC_US and makes an entry: a killed process leaves the page cache alone,
 * the log decides.
 *
 * An entry: u32 magic, u8 op, u32 length of the path, i64 offset, u32 length of the data; the path; the data. One
 * writev(2) each, in the order of the calls. Numbers are little-endian, as this machine's are.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define FDS 65536
enum { OP_CREATE = 1, OP_WRITE, OP_TRUNCATE, OP_SYNC, OP_UNLINK, OP_RENAME, OP_DIRSYNC };

struct __attribute__((packed)) head {
  uint32_t magic;
  uint8_t op;
  uint32_t path_len;
  int64_t offset;
  uint32_t data_len;
};

static char *paths[FDS]; /* of the tracked descriptors; owned here */
static char root[PATH_MAX];
static size_t root_len;
static int log_fd = -1;
static useconds_t sync_us;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

#define REAL(name) ((__typeof__(&name))real(#name))

static void *real(const char *name) { return dlsym(RTLD_NEXT, name); }

__attribute__((constructor)) static void begin(void) {
  const char *dir = getenv("POWERCUT_DIR"), *log = getenv("POWERCUT_LOG");
  if (!dir || !log || !realpath(dir, root)) return;
  root_len = strlen(root);
  const char *us = getenv("POWERCUT_SYNC_US");
  if (us) sync_us = (useconds_t)atoi(us);
  log_fd = REAL(open)(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
}

static void note(uint8_t op, const char *path, int64_t offset, const void *data, size_t data_len) {
  struct head head = {0x54554350, op, (uint32_t)strlen(path), offset, (uint32_t)data_len};
  struct iovec parts[3] = {{&head, sizeof head}, {(void *)path, head.path_len}, {(void *)data, data_len}};
  if (writev(log_fd, parts, 3) < 0) abort();
}

/* The absolute path without links or dots, in `out`; whether it lies under the root and is to be tracked. */
static int ours(int dirfd, const char *path, char *out) {
  char joined[PATH_MAX * 2], parent[PATH_MAX];
  if (log_fd < 0 || !path || !*path) return 0;
  if (path[0] == '/') strncpy(joined, path, sizeof joined - 1);
  else {
    char base[PATH_MAX], link[64];
    ssize_t n;
    if (dirfd == AT_FDCWD) { if (!getcwd(base, sizeof base)) return 0; }
    else {
      snprintf(link, sizeof link, "/proc/self/fd/%d", dirfd);
      if ((n = readlink(link, base, sizeof base - 1)) < 0) return 0;
      base[n] = 0;
    }
    snprintf(joined, sizeof joined, "%s/%s", base, path);
  }
  joined[sizeof joined - 1] = 0;
  if (realpath(joined, out) == NULL) { /* not there (any more): its folder must be */
    char *slash = strrchr(joined, '/');
    if (!slash) return 0;
    *slash = 0;
    if (!realpath(*joined ? joined : "/", parent)) return 0;
    if (snprintf(out, PATH_MAX, "%s/%s", parent, slash + 1) >= PATH_MAX) return 0;
  }
  if (strncmp(out, root, root_len) || (out[root_len] && out[root_len] != '/')) return 0;
  size_t n = strlen(out);
  if (n > 4 && !strcmp(out + n - 4, "-shm")) return 0; /* shared memory, made anew after a cut */
  if (n > 9 && !strcmp(out + n - 9, "/run.lock")) return 0; /* a lock, not evidence */
  return 1;
}

static void track(int fd, const char *path) {
  if (fd < 0 || fd >= FDS) return;
  free(paths[fd]);
  paths[fd] = strdup(path);
}

static int opened(int fd, const char *path, int flags, int existed) {
  struct stat st;
  if (fd < 0) return fd;
  if (!REAL(fstat)(fd, &st) && (S_ISREG(st.st_mode) || S_ISDIR(st.st_mode))) {
    if (S_ISREG(st.st_mode)) {
      if (!existed) note(OP_CREATE, path, st.st_mode & 07777, NULL, 0);
      else if (flags & O_TRUNC) note(OP_TRUNCATE, path, 0, NULL, 0);
    }
    track(fd, path);
  }
  return fd;
}

static int open_any(int dirfd, const char *path, int flags, mode_t mode) {
  char full[PATH_MAX];
  int mine = ours(dirfd, path, full);
  if (!mine) return REAL(openat)(dirfd, path, flags, mode);
  pthread_mutex_lock(&lock);
  int existed = REAL(access)(full, F_OK) == 0;
  int fd = REAL(openat)(dirfd, path, flags, mode), kept = errno;
  opened(fd, full, flags, existed);
  pthread_mutex_unlock(&lock);
  errno = kept;
  return fd;
}

#define MODE(flags, last)                                             \
  mode_t mode = 0;                                                    \
  if ((flags) & (O_CREAT | O_TMPFILE)) {                              \
    va_list list;                                                     \
    va_start(list, last);                                             \
    mode = va_arg(list, mode_t);                                      \
    va_end(list);                                                     \
  }

int open(const char *path, int flags, ...) { MODE(flags, flags) return open_any(AT_FDCWD, path, flags, mode); }
int open64(const char *path, int flags, ...) { MODE(flags, flags) return open_any(AT_FDCWD, path, flags | O_LARGEFILE, mode); }
int openat(int dir, const char *path, int flags, ...) { MODE(flags, flags) return open_any(dir, path, flags, mode); }
int openat64(int dir, const char *path, int flags, ...) { MODE(flags, flags) return open_any(dir, path, flags | O_LARGEFILE, mode); }

int close(int fd) {
  pthread_mutex_lock(&lock);
  if (fd >= 0 && fd < FDS && paths[fd]) { free(paths[fd]); paths[fd] = NULL; }
  int done = REAL(close)(fd);
  pthread_mutex_unlock(&lock);
  return done;
}

static const char *tracked(int fd) { return fd >= 0 && fd < FDS ? paths[fd] : NULL; }

static ssize_t write_at(int fd, const void *data, size_t n, off_t offset) {
  pthread_mutex_lock(&lock);
  const char *path = tracked(fd);
  ssize_t done = REAL(pwrite)(fd, data, n, offset);
  int kept = errno;
  if (path && done > 0) note(OP_WRITE, path, offset, data, done);
  pthread_mutex_unlock(&lock);
  errno = kept;
  return done;
}

ssize_t pwrite(int fd, const void *data, size_t n, off_t offset) { return write_at(fd, data, n, offset); }
ssize_t pwrite64(int fd, const void *data, size_t n, off64_t offset) { return write_at(fd, data, n, offset); }

ssize_t write(int fd, const void *data, size_t n) {
  pthread_mutex_lock(&lock);
  const char *path = tracked(fd);
  off_t offset = 0;
  struct stat st;
  if (path) {
    int flags = fcntl(fd, F_GETFL);
    offset = (flags & O_APPEND) && !REAL(fstat)(fd, &st) ? st.st_size : lseek(fd, 0, SEEK_CUR);
  }
  ssize_t done = REAL(write)(fd, data, n);
  int kept = errno;
  if (path && done > 0) note(OP_WRITE, path, offset, data, done);
  pthread_mutex_unlock(&lock);
  errno = kept;
  return done;
}

static int resize(int fd, off_t size) {
  pthread_mutex_lock(&lock);
  const char *path = tracked(fd);
  int done = REAL(ftruncate)(fd, size), kept = errno;
  if (path && !done) note(OP_TRUNCATE, path, size, NULL, 0);
  pthread_mutex_unlock(&lock);
  errno = kept;
  return done;
}

int ftruncate(int fd, off_t size) { return resize(fd, size); }
int ftruncate64(int fd, off64_t size) { return resize(fd, size); }

static int sync_any(int fd, int (*really)(int)) {
  if (tracked(fd)) usleep(sync_us); /* as long as a disk takes: what is cut now was not synced */
  pthread_mutex_lock(&lock);
  const char *path = tracked(fd);
  struct stat st;
  int done = 0;
  if (!path) done = really(fd);
  else if (!REAL(fstat)(fd, &st)) note(S_ISDIR(st.st_mode) ? OP_DIRSYNC : OP_SYNC, path, 0, NULL, 0);
  pthread_mutex_unlock(&lock);
  return done;
}

int fsync(int fd) { return sync_any(fd, REAL(fsync)); }
int fdatasync(int fd) { return sync_any(fd, REAL(fdatasync)); }

static int remove_any(int dirfd, const char *path, int flags) {
  char full[PATH_MAX];
  int mine = !(flags & AT_REMOVEDIR) && ours(dirfd, path, full);
  pthread_mutex_lock(&lock);
  int done = REAL(unlinkat)(dirfd, path, flags), kept = errno;
  if (mine && !done) note(OP_UNLINK, full, 0, NULL, 0);
  pthread_mutex_unlock(&lock);
  errno = kept;
  return done;
}

int unlink(const char *path) { return remove_any(AT_FDCWD, path, 0); }
int unlinkat(int dirfd, const char *path, int flags) { return remove_any(dirfd, path, flags); }

static int rename_any(int from_dir, const char *from, int to_dir, const char *to) {
  char full_from[PATH_MAX], full_to[PATH_MAX];
  int mine = ours(from_dir, from, full_from) && ours(to_dir, to, full_to);
  pthread_mutex_lock(&lock);
  int done = REAL(renameat)(from_dir, from, to_dir, to), kept = errno;
  if (mine && !done) note(OP_RENAME, full_from, 0, full_to, strlen(full_to));
  pthread_mutex_unlock(&lock);
  errno = kept;
  return done;
}

int rename(const char *from, const char *to) { return rename_any(AT_FDCWD, from, AT_FDCWD, to); }
int renameat(int from_dir, const char *from, int to_dir, const char *to) { return rename_any(from_dir, from, to_dir, to); }
