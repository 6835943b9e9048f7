// SPDX-License-Identifier: Apache-2.0
// Agreement on failure, and memory shared by the ranks of a node.
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "check.h"
#include "ssmsweep/sweep/comm.h"

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

static void check_block(const struct comm *comm, size_t words)
{
    struct node_block block = {0};
    struct error err = {0};
    CHECK(node_block_open(&block, comm, words * sizeof(uint64_t), &err) == STATUS_OK);
    uint64_t *memory = block.memory;
    CHECK((uintptr_t)memory % 64 == 0);
    CHECK(block.parts == comm->node_ranks || block.parts == 1);
    CHECK(block.part >= 0 && block.part < block.parts);
    for (size_t i = (size_t)block.part; i < words; i += (size_t)block.parts) {
        CHECK(memory[i] == 0);
        memory[i] = i * 2654435761u + 1;
    }
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
    CHECK(comm_agree(comm, &err) == STATUS_IO);
    node_block_close(&block);
}

int main(int argc, char **argv)
{
    struct comm comm;
    struct error err = {0};
    CHECK(comm_init(&comm, &argc, &argv, &err) == STATUS_OK);
    CHECK(comm.node_ranks >= 1 && comm.node_ranks <= comm.ranks);
    check_agreement(&comm);
    check_block(&comm, 1);
    check_block(&comm, 1000003);
    if (argc > 1 && strcmp(argv[1], "huge") == 0) check_impossible_block(&comm);
    comm_finish(&comm);
    return 0;
}
