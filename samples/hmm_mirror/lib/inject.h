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
 * Has the main thread of @pid clone a helper, a process with the same memory and with
 * descriptors of its own. That opens @device and binds it to this memory, the file is
 * fetched, and the helper killed. So @pid itself never has the file, nor has a child that
 * it forks meanwhile, and nobody else can put another in its place. The device node is the
 * one of that name where @pid is; that it is the right one is left to the caller.
 *
 * The main thread is stopped meanwhile. If this thread traces it already, that is with the
 * ptrace options @options; and if it has stopped it, that is in a PTRACE_EVENT_STOP then.
 * -EBUSY is returned if @pid waits for a vforked child or is frozen, if it is stopped by a
 * signal that this thread is to deliver, or by an event that this is to be told of. One that
 * does not stop stays traced.
 *
 * In @pid interrupted calls are restarted, restartable sequences begin anew, and signals that
 * come are delivered afterwards, SIGSTOP at once. Only sleeps that the kernel ends with EINTR
 * whenever a thread is stopped do end, see signal(7), and so does a call with a signal mask of
 * its own, such as sigsuspend(2), if a signal is pending that only this blocks. Another thread
 * of @pid may see the helper meanwhile, by waitpid() with __WALL, and its memory counts in
 * RUSAGE_CHILDREN. If another thread calls execve(2) meanwhile, the new program gets a SIGCHLD
 * and has a zombie.
 *
 * Signals of this thread are blocked. SIGKILL cannot be: if it comes while the main thread
 * makes one of the two calls that it is needed for, clone() and wait4(), the process is
 * killed. If it comes between them, a page and a zombie are left; so they are when a
 * helper takes more than 2 seconds over a call and 10 to end, as the device or its file
 * system hangs. Both calls are short, and if it does not come back from one nevertheless,
 * that is waited for without end, with a message.
 *
 * Returns a descriptor, or a negative errno value; on -EOPNOTSUPP, *@why says why.
 */
int bind_by_process(const char *device, pid_t pid, long options, const char **why);

#endif /* HMM_MIRROR_INJECT_H */
