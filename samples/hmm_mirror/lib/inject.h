/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Has another process open and bind a device.
 *
 * A driver that is a module cannot see whether a process may look into another, so it lets
 * each bind its own memory only. But who may trace a process may have it do so: then what
 * ptrace(2) permits is permitted, and nothing else.
 */
#ifndef HMM_MIRROR_INJECT_H
#define HMM_MIRROR_INJECT_H

#include <sys/types.h>

/*
 * Has the main thread of @pid, which @pidfd is of, open @device, and bind it to its address
 * space, and fetches the file. It is stopped meanwhile; where this thread traces it
 * already, with the ptrace options @options, it does so afterwards.
 *
 * Nothing is left of that in the process, unless this thread is killed meanwhile, or a
 * call takes more than 2 seconds there: then the process may not survive. It is not for
 * processes that use syscall user dispatch or restartable sequences, or that ignore or
 * block SIGTRAP. Other threads run on, and a child that they fork meanwhile has the file.
 *
 * Returns a descriptor, or a negative errno value; on -EOPNOTSUPP, *@why says why.
 */
int bind_by_process(const char *device, pid_t pid, int pidfd, long options, const char **why);

#endif /* HMM_MIRROR_INJECT_H */
