/*
 * errno.h - Linux's error numbers, for a core that has no C library
 */
#ifndef QY_BASE_ERRNO_H
#define QY_BASE_ERRNO_H

#define QY_EIO 5
#define QY_E2BIG 7
#define QY_EAGAIN 11
#define QY_ENOMEM 12
#define QY_EFAULT 14
#define QY_EBUSY 16
#define QY_EEXIST 17
#define QY_EINVAL 22
#define QY_EFBIG 27
#define QY_ENOSPC 28
#define QY_EROFS 30
#define QY_ETIME 62
#define QY_ENOTSUP 95

#endif
