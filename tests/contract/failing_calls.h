/*
 * failing_calls.h - a child process whose Nth system call of one kind fails with ENOMEM
 *
 * A seccomp filter stops the child at each such call and asks the parent, which counts and
 * answers "go on" or "ENOMEM". Nothing of it runs inside the child, so signals, locks and stacks
 * of the child are as always.
 */
#ifndef QUARRY_TESTS_FAILING_CALLS_H
#define QUARRY_TESTS_FAILING_CALLS_H

#include "contract.h"
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>

/* In the child, before its work: from here on the parent decides. */
static inline void ask_for_call(int call, int channel)
{
    struct sock_filter steps[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)call, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog filter = {sizeof steps / sizeof steps[0], steps};
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    int listener = (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER,
                                SECCOMP_FILTER_FLAG_NEW_LISTENER, &filter);
    if (listener < 0)
        skip("no seccomp notifications here: %s", strerror(errno));

    char byte = 0, space[CMSG_SPACE(sizeof listener)] = {0};
    struct iovec data = {&byte, 1};
    struct msghdr message = {
        .msg_iov = &data, .msg_iovlen = 1, .msg_control = space, .msg_controllen = sizeof space};
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof listener);
    memcpy(CMSG_DATA(header), &listener, sizeof listener);
    if (sendmsg(channel, &message, 0) < 0)
        skip("no descriptor can be sent: %s", strerror(errno));
    close(channel);
    close(listener);
}

static inline int receive_listener(int channel)
{
    int listener = -1;
    char byte, space[CMSG_SPACE(sizeof listener)] = {0};
    struct iovec data = {&byte, 1};
    struct msghdr message = {
        .msg_iov = &data, .msg_iovlen = 1, .msg_control = space, .msg_controllen = sizeof space};
    if (recvmsg(channel, &message, 0) > 0 && CMSG_FIRSTHDR(&message))
        memcpy(&listener, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof listener);
    return listener;
}

/* In the parent: lets calls 1 .. first-1 pass, fails `first` .. `last`; returns how many came. */
static inline unsigned long answer_calls(int listener, unsigned long first, unsigned long last)
{
    unsigned long count = 0;
    for (;;) {
        struct pollfd ready = {.fd = listener, .events = POLLIN};
        struct seccomp_notif question;
        struct seccomp_notif_resp answer;
        if (poll(&ready, 1, -1) < 0 && errno == EINTR)
            continue;
        if (!(ready.revents & POLLIN))
            return count; /* the child has ended */
        memset(&question, 0, sizeof question);
        memset(&answer, 0, sizeof answer);
        if (ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &question) != 0)
            continue;
        count++;
        answer.id = question.id;
        if (count >= first && count <= last)
            answer.error = -ENOMEM;
        else
            answer.flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE;
        ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &answer);
    }
}

#endif
