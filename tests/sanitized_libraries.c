// SPDX-License-Identifier: Apache-2.0
// Linked into sanitizer builds only, so that the leak checker can tell allocations of Open MPI, suppressed in
// lsan.supp by the name of the library, from ours.  Weak, because several libraries may bring it along.
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

int dlclose(void *handle);
int vasprintf(char **text, const char *format, va_list values);
int asprintf(char **text, const char *format, ...);
int __vasprintf_chk(char **text, int flag, const char *format, va_list values);
int __asprintf_chk(char **text, int flag, const char *format, ...);

// Plugins stay loaded: of one that is gone nobody knows the name.
__attribute__((weak)) int dlclose(void *handle)
{
    (void)handle;
    return 0;
}

// The C library's own keep no frame pointers, so the unwinder does not find who called them: a leak of such a
// string would be nobody's.  These have some; the project itself calls none of them.
__attribute__((weak)) int vasprintf(char **text, const char *format, va_list values)
{
    va_list again;
    va_copy(again, values);
    int length = vsnprintf(NULL, 0, format, again);
    va_end(again);
    // Not malloc: a linker that leads it through tests/inject would do so here, in the middle of Open MPI.
    char *made = length < 0 ? NULL : aligned_alloc(1, (size_t)length + 1);
    if (!made) return -1;
    *text = made;
    return vsnprintf(made, (size_t)length + 1, format, values);
}

__attribute__((weak)) int __vasprintf_chk(char **text, int flag, const char *format, va_list values)
{
    (void)flag;
    return vasprintf(text, format, values);
}

__attribute__((weak)) int asprintf(char **text, const char *format, ...)
{
    va_list values;
    va_start(values, format);
    int length = vasprintf(text, format, values);
    va_end(values);
    return length;
}

__attribute__((weak)) int __asprintf_chk(char **text, int flag, const char *format, ...)
{
    (void)flag;
    va_list values;
    va_start(values, format);
    int length = vasprintf(text, format, values);
    va_end(values);
    return length;
}
