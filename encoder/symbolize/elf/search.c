/* search.c - libelf's and libdw's search trees, which Debian 13 leaves out of its static libraries (they are in libeu.a
 * of elfutils). A tree begins with its root, as tsearch(3) keeps it; a lock follows, which one thread does not need.
 * Elsewhere nothing refers to these functions.
 *
 * Runs in: pprofshim-symbolize.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <search.h>
#include <stddef.h>

struct tree {
	void *root;
};
typedef int comparing(const void *a, const void *b);

void *eu_tsearch(const void *key, struct tree *tree, comparing *compare);
void *eu_tfind(const void *key, struct tree *tree, comparing *compare);
void *eu_tdelete(const void *key, struct tree *tree, comparing *compare);
void eu_tdestroy(struct tree *tree, void (*release)(void *node));
void eu_search_tree_init(struct tree *tree);
void eu_search_tree_fini(struct tree *tree, void (*release)(void *node));

__attribute__((weak)) void *eu_tsearch(const void *key, struct tree *tree, comparing *compare)
{
	return tsearch(key, &tree->root, compare);
}

__attribute__((weak)) void *eu_tfind(const void *key, struct tree *tree, comparing *compare)
{
	return tfind(key, &tree->root, compare);
}

__attribute__((weak)) void *eu_tdelete(const void *key, struct tree *tree, comparing *compare)
{
	return tdelete(key, &tree->root, compare);
}

__attribute__((weak)) void eu_tdestroy(struct tree *tree, void (*release)(void *node))
{
	tdestroy(tree->root, release);
	tree->root = NULL;
}

__attribute__((weak)) void eu_search_tree_init(struct tree *tree)
{
	tree->root = NULL;
}

__attribute__((weak)) void eu_search_tree_fini(struct tree *tree, void (*release)(void *node))
{
	eu_tdestroy(tree, release);
}
