/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
/*
 * The ioctls of /dev/my_device.  Who opens it has a device context, which mirrors
 * the process that has opened it.
 *
 * TODO: a number of its own, see Documentation/userspace-api/ioctl/ioctl-number.rst
 */
#ifndef _MY_DEVICE_H
#define _MY_DEVICE_H

#include <linux/ioctl.h>
#include <linux/types.h>

#define MY_DEVICE_MAP_WRITE	0x1 /* fault for writing */

/**
 * struct my_device_map - argument of MY_DEVICE_IOC_MAP
 * @addr: first byte, page aligned
 * @len: length in bytes, page aligned, not 0, at most 512 pages
 * @flags: MY_DEVICE_MAP_*
 * @reserved: must be 0
 *
 * Puts a range of memory into the device's page table.
 *
 * Errors: EINVAL, EFAULT (no mapping, or not readable), EPERM (not writable), ESRCH
 * (the process that has opened the device is gone), EBUSY (the range changed all the
 * time: try again), EINTR, ENOMEM.
 */
struct my_device_map {
	__u64 addr;
	__u64 len;
	__u32 flags;
	__u32 reserved;
};

#define MY_DEVICE_ENTRY_VALID	0x1 /* the device has the page */
#define MY_DEVICE_ENTRY_WRITE	0x2 /* and may write to it */

/**
 * struct my_device_lookup - argument of MY_DEVICE_IOC_LOOKUP
 * @addr: address of a byte
 * @flags: in: must be 0; out: MY_DEVICE_ENTRY_*
 * @reserved: must be 0
 *
 * What the device's page table says about a page.
 */
struct my_device_lookup {
	__u64 addr;
	__u32 flags;
	__u32 reserved;
};

#define MY_DEVICE_IOC_MAP	_IOW(0xbf, 0x00, struct my_device_map)
#define MY_DEVICE_IOC_LOOKUP	_IOWR(0xbf, 0x01, struct my_device_lookup)

#endif /* _MY_DEVICE_H */
