/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Contexts of the sample devices, as tests use them, and memory and processes for
 * these to mirror.
 */
#ifndef HMM_MIRROR_TEST_CONTEXT_H
#define HMM_MIRROR_TEST_CONTEXT_H

#include <linux/types.h>
#include <stdbool.h>
#include <sys/types.h>

#include "device.h"

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE		25
#endif

#define HUGE_SIZE		(2UL << 20)
#define ABOVE			((__u64)1 << 60)	/* in no address space */

/* Why there can be no test of a device here, or NULL. */
const char *device_unusable(const char *device);

/* Is this a kernel that knows nothing of HMM mirroring, and has it as a module? */
bool registry_is_module(void);

/* An ioctl as it is: 0 or a negative errno value. */
int call(int fd, unsigned long request, void *arg);
int bind_self(int fd);
int map_read(int fd, char *map, size_t size);
int map_write(int fd, char *map, size_t size);
int map_present(int fd, char *map, size_t size);
int read_at(int fd, const void *addr, void *buf, size_t len);
int write_at(int fd, void *addr, const void *buf, size_t len);
/* What the device reads of one byte, or a negative errno value. */
int byte_at(int fd, const char *addr);

/* The number of entries in a range; of those that are writable; with flags and order. */
long entries_in(int fd, char *map, size_t size);
long writable_in(int fd, char *map, size_t size);
long entries_with(int fd, char *map, size_t size, __u32 flags, __u32 order);
/* The number of stale entries, or a negative errno value. */
long stale(int fd, pid_t pid);

/* Anonymous memory, private to this process. */
char *memory(size_t size);
/* Memory with a huge page, or NULL. */
char *huge_memory(void);

/* On a clock that is never set */
double seconds(void);

/* A child that sleeps until it is killed. */
pid_t sleeper(void);
void reap(pid_t pid);

#endif
