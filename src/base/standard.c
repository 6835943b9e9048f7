// SPDX-License-Identifier: Apache-2.0
#include "ssmsweep/base/standard.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

// Else the next file or pipe that anybody opens takes the number of the stream, and what is printed goes
// into it.
void standard_open(void)
{
    int descriptor;
    do
        descriptor = open("/dev/null", O_RDWR);
    while (descriptor >= 0 && descriptor <= STDERR_FILENO);
    if (descriptor > STDERR_FILENO) close(descriptor);
}

// A pipe or a socket: it took what it wanted.
static bool reader_left(void)
{
    struct stat info;
    struct pollfd out = {.fd = STDOUT_FILENO, .events = POLLOUT};
    return fstat(STDOUT_FILENO, &info) == 0 && (S_ISFIFO(info.st_mode) || S_ISSOCK(info.st_mode)) &&
           poll(&out, 1, 0) > 0 && (out.revents & (POLLERR | POLLHUP));
}

enum status standard_end(struct error *err)
{
    const int code = fflush(stdout) == 0 ? 0 : errno;
    if ((code == 0 && !ferror(stdout)) || reader_left()) return STATUS_OK;
    // The reason of an earlier piece may be forgotten.
    return error_set(err, STATUS_IO, "standard output: cannot write: %s; print it again where it finds room",
                     code ? strerror(code) : "a part of the text is lost");
}
