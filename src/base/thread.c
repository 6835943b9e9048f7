// SPDX-License-Identifier: Apache-2.0
#include "ssmsweep/base/thread.h"

#include <fenv.h>
#include <locale.h>

void thread_settle(void)
{
    locale_t plain = newlocale(LC_ALL_MASK, "C", (locale_t)0); // a constant of libc: nothing to free
    fesetenv(FE_DFL_ENV);
    if (plain) uselocale(plain);
}
