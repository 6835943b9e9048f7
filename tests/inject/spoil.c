// SPDX-License-Identifier: Apache-2.0
// To be preloaded: a library that spoils what threads compute and write with, when it is loaded, in front of
// every start of a thread, and when MPI and HDF5 start.  SPOIL lists what: round (upward), flush
// (denormals), comma (the locale named "comma").
#include <dlfcn.h>
#include <fenv.h>
#include <locale.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#ifdef __SSE__
#include <xmmintrin.h>
#endif

static void spoil(void)
{
    const char *what = getenv("SPOIL");
    if (!what) return;
    if (strstr(what, "comma")) setlocale(LC_NUMERIC, "comma");
    if (strstr(what, "round")) fesetround(FE_UPWARD);
#ifdef __SSE__
    if (strstr(what, "flush")) _mm_setcsr(_mm_getcsr() | 0x8040); // FTZ and DAZ, as crtfastmath.o does
#endif
}

__attribute__((constructor)) static void loaded(void)
{
    spoil();
}

struct start {
    void *(*body)(void *);
    void *context;
};

static void *begin(void *context)
{
    struct start start = *(struct start *)context;
    free(context);
    spoil();
    return start.body(start.context);
}

// dlsym() gives an object pointer.
#define REAL(name, type)                                                                                     \
    type real;                                                                                               \
    void *found = dlsym(RTLD_NEXT, name);                                                                    \
    memcpy(&real, &found, sizeof real)

int pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*body)(void *), void *context)
{
    typedef int create(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
    REAL("pthread_create", create *);
    struct start *start = malloc(sizeof *start);
    *start = (struct start){body, context};
    return real(thread, attributes, begin, start);
}

int MPI_Init_thread(int *argc, char ***argv, int required, int *provided)
{
    typedef int init(int *, char ***, int, int *);
    REAL("MPI_Init_thread", init *);
    int code = real(argc, argv, required, provided);
    spoil();
    return code;
}

int H5open(void)
{
    typedef int open_library(void);
    REAL("H5open", open_library *);
    int code = real();
    static int started; // macros of HDF5 call it again and again
    if (!started++) spoil();
    return code;
}
