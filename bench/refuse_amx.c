// Preloaded into the peer where it dies in its AMX kernels: some virtual machines name AMX among the CPU's features and
// cannot run it. The peer asks the kernel for leave to use it; told no, it takes its other kernels.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdarg.h>

enum { kArchPrctl = 158, kRequestPermission = 0x1023 };

long syscall(long number, ...) {
    long a[6];
    va_list list;
    va_start(list, number);
    for (int i = 0; i < 6; ++i) a[i] = va_arg(list, long);
    va_end(list);
    if (number == kArchPrctl && a[0] == kRequestPermission) {
        errno = ENOTSUP;
        return -1;
    }
    long (*real)(long, ...) = (long (*)(long, ...))dlsym(RTLD_NEXT, "syscall");
    return real(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}
