// SPDX-License-Identifier: Apache-2.0
// Linked into sanitizer builds only: plugins of Open MPI stay loaded, so that the leak checker can tell their
// allocations (suppressed in lsan.supp) from ours.  Weak, because several libraries may bring it along.
int dlclose(void *handle);

__attribute__((weak)) int dlclose(void *handle)
{
    (void)handle;
    return 0;
}
