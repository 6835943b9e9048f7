// SPDX-License-Identifier: Apache-2.0
// A heap with the smallest value in front: the rank that is free next, the group that is the cheapest.
#ifndef SSMSWEEP_PLAN_LEAST_H
#define SSMSWEEP_PLAN_LEAST_H

struct least {
    double value;
    int id; // of equal values the smaller one is in front
};

// Local, both.  Makes heap[0 .. n) with all values 0.
void least_start(struct least *heap, int n);
// Moves the first one, whose value has grown or which is another one now, to its place.
void least_settle(struct least *heap, int n);

#endif
