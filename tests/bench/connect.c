/* Copyright (c) 2026, lowlatency.ec2 contributors
 * GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
 * SPDX-License-Identifier: GPL-3.0-or-later
 *
 * TCP connects, timed one by one: what the probe is compared with.
 *
 *   connect ADDRESS PORT COUNT WARMUP blocking|spin
 *
 * The same system calls as the probe's, without an interpreter around them: a blocking connect, or a non-blocking one
 * that is called again until it is done. Prints two numbers a line: wall time in nanoseconds, and the kernel's
 * round-trip time (tcpi_rtt) in microseconds. A connect that fails is made again; exits 1 when a tenth of them do.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static long long now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000000LL + now.tv_nsec;
}

/* 0 once connected, -1 with errno as connect() has it; a call on a connected socket is EISCONN. */
static int connect_once(int fd, const struct sockaddr *address, socklen_t size, int spin)
{
    int done = connect(fd, address, size);
    while (spin && done && (errno == EINPROGRESS || errno == EALREADY))
        done = connect(fd, address, size);
    return done && !(spin && errno == EISCONN) ? -1 : 0;
}

int main(int argc, char **argv)
{
    if (argc != 6) {
        fprintf(stderr, "usage: connect ADDRESS PORT COUNT WARMUP blocking|spin\n");
        return 2;
    }
    int spin = strcmp(argv[5], "spin") == 0;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((unsigned short)atoi(argv[2]))};
    if (inet_pton(AF_INET, argv[1], &address.sin_addr) != 1)
        return 2;
    int count = atoi(argv[3]), warmup = atoi(argv[4]), failures_left = count / 10;
    long long *wall_ns = calloc(count, sizeof *wall_ns);
    unsigned *wire_us = calloc(count, sizeof *wire_us);
    struct linger linger = {1, 0};
    struct timeval timeout = {0, 100000};
    for (int i = -warmup; i < count; i++) {
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
        setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof timeout);
        if (spin && fcntl(fd, F_SETFL, O_NONBLOCK)) {
            perror("O_NONBLOCK");
            return 1;
        }
        long long start_ns = now_ns();
        if (connect_once(fd, (struct sockaddr *)&address, sizeof address, spin)) {
            if (failures_left-- == 0) {
                perror("connect");
                return 1;
            }
            close(fd);
            i--;
            continue;
        }
        long long taken_ns = now_ns() - start_ns;
        struct tcp_info info;
        socklen_t size = sizeof info;
        if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size)) {
            perror("TCP_INFO");
            return 1;
        }
        close(fd);
        if (i >= 0) {
            wall_ns[i] = taken_ns;
            wire_us[i] = info.tcpi_rtt;
        }
    }
    for (int i = 0; i < count; i++)
        printf("%lld %u\n", wall_ns[i], wire_us[i]);
    return 0;
}
