/* snapshot.h - what the rooms above may know of the shim: a copy of its counters at one moment.
 *
 * Runs in: listener. The copies live in the request's region; what they point to (stacks, modules) is
 * immutable and never freed. Each bucket is copied under its lock, so a row is consistent in itself;
 * rows among each other are not one instant.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_SNAPSHOT_H
#define PPROFSHIM_SNAPSHOT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "shim/arena.h"

/* A call stack, leaf first. pc[i] is the address to look up: a return address minus one (every frame
 * of a stack taken in a hook is a caller). */
struct stack {
	struct stack *next;          /* stacks.c: in the same hash slot */
	struct heap_bucket *buckets; /* heap.c: of this stack, one a size class */
	struct thread_site *site;    /* threads.c: pthread_create called from here */
	uint32_t hash;
	uint16_t depth;
	uint16_t place; /* which object lay where when it was taken: modules_place */
	uintptr_t pc[];
};

/* A loaded object, or one that was loaded once. */
struct module {
	const char *path;     /* as the loader has it: may be relative, is "" for the program itself */
	uintptr_t start, end; /* addresses from the first to the last segment */
	uintptr_t bias;       /* address in memory minus address in the file's headers */
	struct {
		uintptr_t start, end; /* executable segment in memory */
		uint64_t file_offset;
	} text[4];
	unsigned text_count;
	uint8_t build_id[32];
	unsigned build_id_len;
	uintptr_t unwind_table; /* .eh_frame_hdr in memory; 0: none (for the unwinder) */
	bool gone;              /* unloaded since */
};

/* The modules known now, the main program first. The index of a module plus one is its place (see struct stack):
 * where several have lain at an address, the one of the stack's place is meant; in place 0, the first of them.
 * Neither the array nor what it points to is ever freed or changed, save `gone`. */
struct module_list {
	size_t count;
	const struct module *const *at;
};
struct module_list snapshot_modules(void);

/* One row of a heap profile: the counters of a stack and size class. `raw` are the sampled blocks
 * themselves, `scaled` their estimate of all blocks (each sample over its probability). */
struct heap_values {
	uint64_t alloc_objects, alloc_bytes, free_objects, free_bytes;
};
struct heap_row {
	const struct stack *stack;
	uint64_t class_bytes; /* the size class, for the label "bytes" */
	struct heap_values raw, scaled;
};
struct heap_snapshot {
	uint64_t time_ns; /* CLOCK_REALTIME */
	uint64_t rate_bytes;
	size_t count;
	struct heap_row *rows; /* in the order the buckets were made: a later snapshot has the same
	                        * rows first */
};

/* 0, or -ENOMEM. */
int snapshot_heap(struct region *r, struct heap_snapshot *s);

/* Buckets with blocks in use, and all of them. */
void snapshot_count_heap(uint64_t *in_use, uint64_t *all);

/* One row of threadcreate: the stack that called pthread_create and how often. The names of those of
 * its threads that live now are read by the snapshot from /proc/self/task. */
struct thread_row {
	const struct stack *stack;
	const char *name; /* of living threads; NULL: ended, or not known any more */
	uint64_t count;
};
struct thread_snapshot {
	uint64_t time_ns;
	size_t count;
	struct thread_row *rows;
};
int snapshot_threads(struct region *r, struct thread_snapshot *s);

/* What the profiler lost or could not do, for the index page and profile comments: lines of text
 * through `tell`, none when all is well. */
void snapshot_losses(void (*tell)(void *arg, const char *line), void *arg);

/* Totals for the index page: stacks with blocks in use, stacks that ever allocated, threads created. */
struct snapshot_counts {
	uint64_t heap, allocs, threadcreate;
};
struct snapshot_counts snapshot_counts(void);

#endif
