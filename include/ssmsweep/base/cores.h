// SPDX-License-Identifier: Apache-2.0
// Cores that this process may use: what it is bound to, and how much time on them a container gives it.
#ifndef SSMSWEEP_BASE_CORES_H
#define SSMSWEEP_BASE_CORES_H

// The tightest limit of the control groups around this process, as `docker --cpus` sets it; the processes of
// that group share it.
struct cores_quota {
    double cores;                     // of processor time per time, as 0.5; 0: there is no limit
    unsigned long long device, group; // which group it is, where processes compare
};

// Local.  Control groups of version 1 and 2, nested ones too.  root: "", or a folder that stands for / in
// tests.
struct cores_quota cores_quota(const char *root);

// Local.  Cores that this process is bound to, cut by its quota, as whole threads: at least 1.
int cores_usable(void);

#endif
