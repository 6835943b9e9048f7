// SPDX-License-Identifier: Apache-2.0
// Agreement on failure, and memory shared by the ranks of a node.
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#include "check.h"
#include "ssmsweep/comm/comm.h"

static void check_agreement(const struct comm *comm)
{
    struct error none = {0};
    CHECK(comm_agree(comm, &none) == STATUS_OK && none.status == STATUS_OK);
    // Each rank fails once by itself, then together with all ranks above it.
    for (int failing = 0; failing < comm->ranks; failing++)
        for (int together = 0; together < 2; together++) {
            struct error err = {0};
            char expected[80];
            if (comm->rank == failing || (together && comm->rank > failing))
                error_set(&err, failing % 2 ? STATUS_IO : STATUS_INPUT, "trouble of %d", comm->rank);
            CHECK(comm_agree(comm, &err) == (failing % 2 ? STATUS_IO : STATUS_INPUT));
            if (failing)
                snprintf(expected, sizeof expected, "rank %d: trouble of %d", failing, failing);
            else
                snprintf(expected, sizeof expected, "trouble of 0");
            CHECK(strcmp(err.text, expected) == 0);
        }
}

static void check_block(const struct comm *comm, size_t words, bool shared)
{
    struct node_block block = {0};
    struct error err = {0};
    CHECK(node_block_open(&block, comm, words * sizeof(uint64_t), &err) == STATUS_OK);
    uint64_t *memory = block.memory;
    CHECK((uintptr_t)memory % 64 == 0);
    CHECK(block.shared == (shared && comm->node_ranks > 1));
    uint64_t taken = 0;
    for (size_t i = (size_t)node_block_next(&block); i < words; i = (size_t)node_block_next(&block)) {
        CHECK(memory[i] == 0);
        memory[i] = i * 2654435761u + 1;
        taken++;
    }
    if (block.shared) MPI_Allreduce(MPI_IN_PLACE, &taken, 1, MPI_UINT64_T, MPI_SUM, comm->node);
    CHECK(taken == words); // each number went to one of those who share the block
    node_block_fence(&block, comm);
    for (size_t i = 0; i < words; i++)
        CHECK(memory[i] == i * 2654435761u + 1);
    node_block_fence(&block, comm);
    node_block_close(&block);
    CHECK(block.memory == NULL);
}

static void check_impossible_block(const struct comm *comm)
{
    struct node_block block = {0};
    struct error err = {0};
    node_block_open(&block, comm, (size_t)1 << 60, &err);
    CHECK(err.status == STATUS_IO && block.memory == NULL);
    CHECK(comm_agree(comm, &err) == STATUS_IO);
    node_block_close(&block);
}

// A limit on the size of files stands in for a /dev/shm that is too small: the ranks then go without sharing.
static void check_fallback(const struct comm *comm)
{
    struct rlimit before;
    CHECK(getrlimit(RLIMIT_FSIZE, &before) == 0);
    const struct rlimit small = {.rlim_cur = 1 << 20, .rlim_max = before.rlim_max};
    CHECK(signal(SIGXFSZ, SIG_IGN) != SIG_ERR);
    if (comm->rank == 0) CHECK(setrlimit(RLIMIT_FSIZE, &small) == 0);
    check_block(comm, 1000003, false);
    if (comm->rank == 0) CHECK(setrlimit(RLIMIT_FSIZE, &before) == 0);
}

int main(int argc, char **argv)
{
    struct comm comm;
    struct error err = {0};
    CHECK(comm_init(&comm, &argc, &argv, &err) == STATUS_OK);
    CHECK(comm.node_ranks >= 1 && comm.node_ranks <= comm.ranks);
    check_agreement(&comm);
    check_block(&comm, 1, true);
    check_block(&comm, 1000003, true);
    check_impossible_block(&comm);
    check_fallback(&comm);
    comm_finish(&comm);
    return 0;
}
