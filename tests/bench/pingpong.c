/* The limit: one process echoes bytes, another sends them and waits. No event loop, no parsing, no Python between.
 *
 * As a program: pingpong PATH, the server, one connection after the other.
 * As a shared library: pingpong_connect and pingpong_calls, the client, which Python calls once for many calls.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static int address_of(const char *path, struct sockaddr_un *address)
{
    memset(address, 0, sizeof *address);
    address->sun_family = AF_UNIX;
    if (strlen(path) >= sizeof address->sun_path)
        return -1;
    strcpy(address->sun_path, path);
    return 0;
}

static int send_all(int fd, const char *data, size_t size)
{
    while (size > 0) {
        ssize_t sent = send(fd, data, size, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent <= 0)
            return -1;
        data += sent;
        size -= (size_t)sent;
    }
    return 0;
}

/* A connected descriptor, or -1. */
int pingpong_connect(const char *path)
{
    struct sockaddr_un address;
    int fd;

    if (address_of(path, &address) < 0 || (fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) < 0)
        return -1;
    if (connect(fd, (struct sockaddr *)&address, sizeof address) < 0) {
        close(fd);
        return -1;
    }
    return fd;
}

/* Send `frame` and wait until as many bytes have come back, `calls` times. 0, or -1 where other bytes came. */
int pingpong_calls(int fd, const char *frame, size_t size, long calls)
{
    char *buffer = malloc(size);
    int result = buffer ? 0 : -1;

    for (long call = 0; result == 0 && call < calls; call++) {
        size_t received = 0, sent = 0;
        /* What is larger than the socket's buffers comes back while the rest is still being sent. */
        while (result == 0 && received < size) {
            if (sent < size) {
                ssize_t n = send(fd, frame + sent, size - sent, MSG_NOSIGNAL | MSG_DONTWAIT);
                if (n > 0)
                    sent += (size_t)n;
                else if (errno != EAGAIN && errno != EINTR)
                    result = -1;
            }
            if (result == 0) {
                ssize_t n = recv(fd, buffer + received, size - received, 0);
                if (n > 0)
                    received += (size_t)n;
                else if (n == 0 || errno != EINTR)
                    result = -1;
            }
        }
        if (result == 0 && memcmp(buffer, frame, size) != 0)
            result = -1;
    }
    free(buffer);
    return result;
}

int main(int argc, char **argv)
{
    static char buffer[256 * 1024];
    struct sockaddr_un address;
    int listener;

    if (argc != 2 || address_of(argv[1], &address) < 0)
        return 2;
    listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (listener < 0 || bind(listener, (struct sockaddr *)&address, sizeof address) < 0 || listen(listener, 16) < 0)
        return 1;
    for (;;) {
        int fd = accept(listener, NULL, NULL);
        ssize_t got;
        if (fd < 0)
            continue;
        while ((got = recv(fd, buffer, sizeof buffer, 0)) > 0 && send_all(fd, buffer, (size_t)got) == 0)
            ;
        close(fd);
    }
}
